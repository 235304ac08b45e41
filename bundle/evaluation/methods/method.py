"""Interface of methods: a method turns one image file into another; a filter does so slab by slab, in HU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from bundle.evaluation.cases import Pair
from bundle.images import SLAB, Slabs, Volume, write
from bundle.scanner import FILTER_RANGE
from torch import Tensor


class Method(ABC):
    """A method to compare: one row of the table."""

    title: ClassVar[str]

    @property
    def name(self) -> str:
        """Title of the row, with the method's parameters."""
        return self.title

    @abstractmethod
    def job(self, source: Path, destination: Path) -> Callable[[], None]:
        """Prepare the translation of one image; return a function that runs it, which is timed."""

    @property
    def needs_tuning(self) -> bool:
        """Whether the method has parameters that must be tuned first."""
        return False

    def tuned(self, pairs: Sequence[Pair]) -> Method:  # noqa: ARG002 - most have nothing to tune
        """Return the method with its free parameters tuned on pairs."""
        return self

    def for_pair(self, pair: Pair) -> Method:  # noqa: ARG002 - only a ceiling depends on it
        """Return the method for one of the measured pairs."""
        return self

    def missing(self) -> str:
        """Return why the method cannot run; an empty string if it can."""
        return ""

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return start and stop of the windows that make up a result, per axis; by default the whole image."""
        return [[(0, size)] for size in shape]


@dataclass(frozen=True)
class Filter(Method):
    """A filter of HU values, before windowing; at most one of its fields is tuned."""

    #: Name of the field to tune if it is null, empty for none; and the format of its value in the title.
    parameter: ClassVar[str] = ""
    label: ClassVar[str] = ""
    #: Number of slices that are filtered together, and of neighbouring slices needed on each side.
    depth: ClassVar[int] = SLAB
    halo: ClassVar[int] = 0

    @property
    def name(self) -> str:
        """Title with the value of the tuned field."""
        value = getattr(self, self.parameter, None)
        return self.title + (self.label.format(value) if value else "")

    @property
    def needs_tuning(self) -> bool:
        """Whether the field to tune is null."""
        return bool(self.parameter) and getattr(self, self.parameter) is None

    def fit(self, pairs: Sequence[Pair]) -> Any:
        """Return the best value of the field to tune."""
        raise NotImplementedError

    def tuned(self, pairs: Sequence[Pair]) -> Filter:
        """Return the filter with its field tuned on pairs, if it is null."""
        return replace(self, **{self.parameter: self.fit(pairs)}) if self.needs_tuning else self

    @abstractmethod
    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Filter a slab, `(x, y, z)`, float32, in HU, keeping its shape."""

    def settled(self, image: Volume) -> Filter:  # noqa: ARG002 - most do not depend on it
        """Return the filter for one image."""
        return self

    def job(self, source: Path, destination: Path) -> Callable[[], None]:
        """Filter the file slab by slab."""

        def work() -> None:
            image = Volume(source)
            write(destination, Filtered(image, self.settled(image)), self.depth)

        return work


@dataclass(frozen=True)
class OnGrid:
    """An image on the grid of another one, computed while it is read: subclasses implement ``slab``."""

    image: Slabs

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels per axis."""
        return self.image.shape

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel spacing in mm per axis."""
        return self.image.spacing

    @property
    def affine(self) -> np.ndarray:
        """Affine matrix from voxels to mm."""
        return self.image.affine


@dataclass(frozen=True)
class Filtered(OnGrid):
    """An image that is filtered while it is read; padding and metal are clipped first, because they would smear."""

    filter: Filter

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the filtered slices from start to stop."""
        first, last = max(start - self.filter.halo, 0), min(stop + self.filter.halo, self.shape[2])
        slab = self.filter.filtered(self.image.slab(first, last).clamp(*FILTER_RANGE), self.spacing)
        return slab[..., start - first : stop - first]


@dataclass(frozen=True)
class Ceiling(Method):
    """A method tuned on the evaluated pair itself, target included: an upper bound that users cannot reach.

    Args:
        method: a method that needs tuning.
    """

    method: Method

    @property
    def name(self) -> str:
        """Name of the method, marked as a ceiling."""
        return f"{self.method.name}, tuned on the very pair (ceiling)"

    def job(self, source: Path, destination: Path) -> Callable[[], None]:  # noqa: ARG002 - there is nothing to run
        """Raise an error: `for_pair` returns the method to run."""
        raise TypeError("a ceiling must be tuned on its pair first; call for_pair.")

    def for_pair(self, pair: Pair) -> Method:
        """Return the method tuned on the pair."""
        return self.method.tuned([pair])
