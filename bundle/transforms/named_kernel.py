"""Look up a kernel that a user gives: a name of the catalogue, a calibration file, or reference scans."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from bundle.runtime import warn
from bundle.scanner import Conversion, Transfer, TransferFunction
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernels import Kernels, read_kernels
from bundle.transforms.references import reference, stamped

KEYS = ("source_kernel", "target_kernel")
DIFFERENT = 0.25  # mean relative difference of header and image above which a warning is given
BAND = np.flatnonzero((np.asarray(KNOTS) >= 0.15) & (np.asarray(KNOTS) <= 0.5))  # knots that are compared


@dataclass(frozen=True)
class NamedKernel:
    """A kernel that a user gives. A calibration file is read at once, reference scans when their kernel is needed.

    Args:
        key: the key that gives it, ``source_kernel`` or ``target_kernel``: of a file, the kernel at that end counts.
        value: a name of the catalogue, even if there is such a file or folder; else the path of a ``.json`` file
            written by the run id ``calibrating``, or of a reference scan or a folder of them.
        known: the catalogue.

    Raises:
        ValueError: If the value is neither, or the file cannot be read or holds no conversion.
    """

    key: str
    value: str
    known: Kernels

    def __post_init__(self) -> None:
        if self.known.find(self.value) is None and not Path(self.value).exists():
            raise ValueError(
                f"{self.key} {self.value!r} is neither a file or folder nor in the catalogue ({self.known.names()}); "
                "take one of these, or make a file by the run id calibrating."
            )
        if self.file and not self.file.conversions:
            raise ValueError(f"kernel file {self.value!r} holds no conversion; make it by the run id calibrating.")

    @cached_property
    def file(self) -> Kernels | None:
        """The content of a calibration file; None if the kernel is given in another way."""
        is_file = self.value.endswith(".json") and Path(self.value).is_file()
        return read_kernels(self.value) if is_file and self.known.find(self.value) is None else None

    @property
    def conversion(self) -> tuple[str, str, Conversion] | None:
        """Names of source and target, and the conversion, of a calibration file."""
        return self.file.conversions[-1] if self.file else None

    @property
    def kernel(self) -> Transfer:
        """The kernel; each use of reference scans that differ from their header warns.

        Raises:
            ValueError: If a file lacks it, or reference scans do not show it, see `bundle.transforms.references`.
        """
        if self.file and self.conversion:
            name = self.conversion[KEYS.index(self.key)]
            if (found := self.file.find(str(name))) is None:
                raise ValueError(
                    f"kernel file {self.value!r} has no kernel {name!r}; make it by the run id calibrating."
                )
            return found
        return self.known.find(self.value) or self._of_reference()

    def _of_reference(self) -> Transfer:
        """Return the kernel that reference scans name in their headers or, if they differ from it, the one in them."""
        shows = reference(self.key, self.value, stamped(self.value))
        found = shows.kernel
        named = self.known.find(shows.header, shows.manufacturer) if shows.header else None
        if found is None and named is None:
            raise ValueError(
                f"{self.key} {self.value!r} shows too little skin and flat tissue to find its kernel; take a scan with "
                "the whole body in its slices, or name a kernel."
            )
        if found is None or named is None:
            return named or found  # type: ignore[return-value]
        if (difference := difference_of(named, found)) <= DIFFERENT:
            return named
        warn(
            f"the header of the reference names the kernel {shows.header!r}, but the scan differs from it by "
            f"{100 * difference:.0f} %: the kernel found in the scan counts; give the name as {self.key} if the header "
            "is right."
        )
        return found


def difference_of(one: TransferFunction, other: TransferFunction) -> float:
    """Return the mean difference of two kernels between 0.15 and 0.5 cycles/mm, relative to the mean of the first."""
    frequencies = torch.tensor(KNOTS, dtype=torch.float64)
    a, b = (kernel.transfer(frequencies).numpy()[BAND] for kernel in (one, other))
    return float(np.mean(np.abs(a - b)) / np.mean(a))
