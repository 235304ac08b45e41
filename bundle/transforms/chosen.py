"""The kernel conversion chosen for a CT, and its description in the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from bundle.scanner import Conversion, Kernel, Transfer
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernels import catalogue

KERNELS = ("kernels", "kernels_told", "kernel")  # metadata keys that describe an image's kernels
OWN = "calibrated by the user"  # description of a kernel that is not in the bundle's catalogue


@dataclass(frozen=True)
class Chosen:
    """The kernel conversion chosen for a CT.

    Args:
        conversion: the kernel to be undone, a conversion, or None to leave the CT unchanged.
        source: name of the source kernel; "unnamed" if it was found in the image.
        target: name of the target kernel; "reference" if it was found in a reference scan.
        about: description of both: what they were measured on and how certain they are; and the warnings.
        kernel: name of the target, if it has one and the CT is converted.
        uncertainty: uncertainty of the conversion (`bundle.scanner.uncertainty`); None if it is unknown.
    """

    conversion: Kernel | Conversion | None = None
    source: str = ""
    target: str = ""
    about: str = ""
    kernel: str = ""
    uncertainty: tuple[float, ...] | None = None

    def metadata(self) -> dict[str, str]:
        """Return its metadata, as `bundle.images.derived.Derivation` takes them; empty if there is no description."""
        if not self.about:
            return {}
        kernels = f"{self.source} to {self.target}" if self.source else ""
        return dict(zip(KERNELS, (kernels, self.about, self.kernel), strict=True))

    def noted(self) -> dict[str, Any]:
        """Return its entry in the provenance of a result, serializable as JSON."""
        found = asdict(self.conversion) if isinstance(self.conversion, Kernel) else None
        told = {"source": self.source or None, "target": self.target or None, "about": self.about or None}
        sure = None if self.uncertainty is None else list(self.uncertainty)
        return {**told, "found": found, "uncertainty": sure}


def described(kernel: Transfer) -> str:
    """Describe a kernel by its name, source and uncertainty."""
    sure, frequencies = "", torch.tensor(KNOTS, dtype=torch.float64)
    if kernel.deviations:
        deviation = float(kernel.deviation(frequencies)[10] / max(float(kernel.transfer(frequencies)[10]), 0.05))
        sure = f", +- {100 * deviation:.0f} % at 0.4 cycles/mm"
    return f"{kernel.name or 'unnamed'} ({kernel.source}{sure})"


def shown(kernel: Transfer, unnamed: str = "") -> Transfer:
    """Return a kernel without the names of the files that it was measured on, which may name other patients."""
    if kernel.name:
        return kernel if kernel in catalogue().kernels else replace(kernel, source=OWN)
    return replace(kernel, name=unnamed, source=kernel.source.split(": ")[-1])
