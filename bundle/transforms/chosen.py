"""What was chosen for a CT's kernel, and what is told of it in the result."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from bundle.scanner import Conversion, Kernel, Transfer
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernels import catalogue

KERNELS = ("kernels", "kernels_told", "kernel")  # keys of an image's metadata that tell its kernels
OWN = "calibrated by the user"  # what is told of a kernel that is not of the bundle's catalogue


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a CT.

    Args:
        conversion: the kernel to be undone, a conversion, or None to leave the CT as it is.
        source: name of the kernel that it is converted from; "unnamed" if it was found in the image.
        target: name of the kernel that it is converted to; "reference" if it was found in one.
        about: of both, what they were measured on and how sure they are; and what was warned of.
        kernel: the name of the target, if it has one and the CT is converted.
        uncertainty: of the conversion (`bundle.scanner.uncertainty`); None if it is not known.
    """

    conversion: Kernel | Conversion | None = None
    source: str = ""
    target: str = ""
    about: str = ""
    kernel: str = ""
    uncertainty: tuple[float, ...] | None = None

    def told(self) -> dict[str, str]:
        """Return what metadata tell of it, as `bundle.images.derived.Derivation` takes it; nothing without keys."""
        if not self.about:
            return {}
        kernels = f"{self.source} to {self.target}" if self.source else ""
        return dict(zip(KERNELS, (kernels, self.about, self.kernel), strict=True))

    def noted(self) -> dict[str, Any]:
        """Return what the provenance of a result tells of it, for JSON to write."""
        found = asdict(self.conversion) if isinstance(self.conversion, Kernel) else None
        told = {"source": self.source or None, "target": self.target or None, "about": self.about or None}
        sure = None if self.uncertainty is None else list(self.uncertainty)
        return {**told, "found": found, "uncertainty": sure}


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """Keep the texts of what is warned of meanwhile; it is warned of at the end."""
    kept: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield kept
    for each in caught:
        if each.category is UserWarning:
            kept.append(f"warning: {each.message}".rstrip("."))
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def told(kernel: Transfer) -> str:
    """Return name, source and uncertainty of a kernel."""
    sure, frequencies = "", torch.tensor(KNOTS, dtype=torch.float64)
    if kernel.deviations:
        deviation = float(kernel.deviation(frequencies)[10] / max(float(kernel.transfer(frequencies)[10]), 0.05))
        sure = f", +- {100 * deviation:.0f} % at 0.4 cycles/mm"
    return f"{kernel.name or 'unnamed'} ({kernel.source}{sure})"


def shown(kernel: Transfer, unnamed: str = "") -> Transfer:
    """Return a kernel without the names of the files that it was measured on, which may be those of other patients."""
    if kernel.name:
        return kernel if kernel in catalogue().kernels else replace(kernel, source=OWN)
    return replace(kernel, name=unnamed, source=kernel.source.split(": ")[-1])
