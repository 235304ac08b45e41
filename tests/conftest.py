"""What every test may ask for."""

import pytest
import torch


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    """Every law holds for both."""
    return request.param


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
