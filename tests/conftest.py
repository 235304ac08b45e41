"""What every test may ask for."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import Any

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


@pytest.fixture(autouse=True, scope="session")
def found_once() -> Iterator[None]:
    """Found out once a session, not for every config: how far a network of one structure reaches, and MONAI's classes.

    The reach does not depend on the weights; what measures it is tested by itself.
    """
    from monai.bundle.config_item import ComponentLocator

    from bundle.cascade import cascade

    with pytest.MonkeyPatch.context() as patch:
        for name in ("measure_reach", "measure_strided_reach"):
            patch.setattr(cascade, name, kept(getattr(cascade, name), structure))
        name = "_find_classes_or_functions"
        patch.setattr(ComponentLocator, name, kept(getattr(ComponentLocator, name), type))
        yield


def kept(function: Callable[..., Any], about: Callable[[Any], Hashable]) -> Callable[..., Any]:
    """A function that keeps its results, by what is told about its first argument, and by the others."""
    results: dict[Hashable, Any] = {}

    def known(first: Any, *others: Any) -> Any:
        key = about(first), repr(others)
        if key not in results:
            results[key] = function(first, *others)
        return results[key]

    return known


def structure(network: torch.nn.Module) -> Hashable:
    """The modules of a network with all their settings, and the shapes of its weights.

    The classes themselves are told, not their names: two tests may each define a network of one name.
    """
    settings = [
        [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
        for module in network.modules()
    ]
    weights = [(name, values.shape) for name, values in network.state_dict().items()]
    return tuple(map(type, network.modules())), repr((network, settings, weights))
