"""What every test may ask for."""

from contextlib import suppress

import pytest
import torch

# how long an example takes is a matter of the machine, and of what else is running there
with suppress(ImportError):  # in the environments of MONAI Label and MONAI Deploy, whose tests draw nothing
    from hypothesis import settings

    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    """Every law holds for both."""
    return request.param


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
