"""What a method is: it makes one image file of another; and a filter: a method that works slab by slab, in HU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from bundle.evaluation.cases import Pair
from bundle.images import SLAB, Slabs, Volume, write
from torch import Tensor

#: HU: what filters are shown. Padding around the field of view and metal would smear.
LIMITS = (-1200.0, 2000.0)


class Method(ABC):
    """One row of the table."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the row is called; parameters of its own among it."""

    @abstractmethod
    def job(self, source: Path, destination: Path) -> Callable[[], None]:
        """Prepare the translation of one image; calling what is returned does it, and is what takes the time."""

    @property
    def free(self) -> bool:
        """Whether it has parameters that have to be tuned first."""
        return False

    def tuned(self, pairs: Sequence[Pair]) -> Method:  # noqa: ARG002 - most have nothing to tune
        """The same, its free parameters tuned on pairs."""
        return self

    def for_pair(self, pair: Pair) -> Method:  # noqa: ARG002 - only a ceiling looks
        """The same for one pair of those that are measured."""
        return self

    def missing(self) -> str:
        """What keeps the method from running; empty where nothing does."""
        return ""

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Start and stop of the windows that an image is put together from, per axis; of the whole, one each."""
        return [[(0, size)] for size in shape]


@dataclass(frozen=True)
class Filter(Method):
    """A filter in HU, before windowing."""

    #: Slices that are filtered together, and those around them that are looked at.
    depth: ClassVar[int] = SLAB
    halo: ClassVar[int] = 0

    @abstractmethod
    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Filter a slab, `(x, y, z)`, float32, in HU, keeping its shape."""

    def settled(self, image: Volume) -> Filter:  # noqa: ARG002 - most do not look
        """The filter for one image, where it depends on it."""
        return self

    def job(self, source: Path, destination: Path) -> Callable[[], None]:
        """Filter the file slab by slab."""

        def work() -> None:
            image = Volume(source)
            write(destination, Filtered(image, self.settled(image)), self.depth)

        return work


@dataclass(frozen=True)
class Filtered:
    """An image that is filtered while it is read."""

    image: Slabs
    filter: Filter

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return self.image.shape

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm per axis."""
        return self.image.spacing

    @property
    def affine(self) -> np.ndarray:
        """From voxels to mm."""
        return self.image.affine

    def slab(self, start: int, stop: int) -> Tensor:
        """The filtered slices from start to stop."""
        first, last = max(start - self.filter.halo, 0), min(stop + self.filter.halo, self.shape[2])
        made = self.filter.filtered(self.image.slab(first, last).clamp(*LIMITS), self.spacing)
        return made[..., start - first : stop - first]


@dataclass(frozen=True)
class Ceiling(Method):
    """A method tuned on the very pair that is measured, target and all: what no user has, and none can do better.

    Args:
        method: with free parameters.
    """

    method: Method

    @property
    def name(self) -> str:
        """The method's, and what it is."""
        return f"{self.method.name}, tuned on the very pair (ceiling)"

    def job(self, source: Path, destination: Path) -> Callable[[], None]:  # noqa: ARG002 - there is nothing to run
        """Raise: `for_pair` gives what can be run."""
        raise TypeError("a ceiling has to be tuned on its pair first.")

    def for_pair(self, pair: Pair) -> Method:
        """The method tuned on the pair."""
        return self.method.tuned([pair])
