"""Test whether a scan that is converted to an unpaired reference has the reference's kernel.

    python -m benchmarks.unpaired DATA [--rider FOLDER]

Each source is converted to the kernel of a reference, another slice or another patient, as in inference
(``target_kernel``). Then both are measured: the transfer function at the skin, and the noise spectrum in flat soft
tissue, normalized to its sum. The table shows the largest relative difference below 0.4 cycles/mm where the reference
exceeds a tenth of its peak, and for comparison that of the source's own real scan with the target kernel, which shows
how much two real scans differ. DATA holds ``ct`` and ``kernels``; RIDER's sharp series, a DICOM folder, is optional.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import Conversion, converted, edge_spread, flat_noise, frequencies
from bundle.scanner.edge_spread import KNOTS
from bundle.transforms import KernelChoice

MOST = 0.4  # cycles/mm
LEAST = 0.1  # fraction of the peak
WIDTH = 0.05  # cycles/mm, width of a ring of the noise spectrum


@dataclass(frozen=True)
class Case:
    """A source and an unpaired reference.

    Args:
        title: title of the row.
        source: file without suffix, or a folder.
        reference: file without suffix.
        real: the source's own scan with the target kernel, which shows how much two real scans of one kernel differ.
        slices: slices of the source; null for all.
        others: slices of the reference.
    """

    title: str
    source: str
    reference: str
    real: str = ""
    slices: tuple[int, int] | None = None
    others: tuple[int, int] | None = None


CASES = (
    Case(
        "L067 0070 D45f, reference 0218 B30f",
        "kernels/L067_0070_D45f",
        "kernels/L067_0218_B30f",
        "kernels/L067_0070_B30f",
    ),
    Case(
        "head YA slices 1 to 12, reference UB 13 to 24",
        "kernels/headphantom_YA",
        "kernels/headphantom_UB",
        "kernels/headphantom_UB",
        (0, 12),
        (12, 24),
    ),
    Case(
        "A0002 B70f first half, reference B40f second half",
        "ct/lungdx_A0002_sharpB70f",
        "ct/lungdx_A0002_softB40f",
        "ct/lungdx_A0002_softB40f",
        (0, 15),
        (15, 30),
    ),
)
RIDER = "RIDER LUNG, reference lidc_0002 STANDARD"


@dataclass(frozen=True)
class Scan:
    """A CT, `(x, y, z)` in HU, and its voxel spacing in mm."""

    image: Tensor
    spacing: tuple[float, ...]

    @staticmethod
    def read(path: Path, slices: tuple[int, int] | None = None) -> Scan:
        """Read an image, or some of its slices."""
        volume = Volume(path)
        return Scan(volume.slab(*(slices or (0, volume.shape[2]))), volume.spacing)

    def edge(self) -> np.ndarray | None:
        """Return the gains at `KNOTS`, including the skin's own spectrum; None without skin."""
        found = edge_spread(self.image, self.spacing).transfer()
        return None if found is None else np.asarray(found.gains)

    def noise(self) -> np.ndarray | None:
        """Return the noise power per ring, normalized to its sum; None without flat tissue."""
        noise = flat_noise(self.image, self.spacing)
        if not noise.count:
            return None
        power = noise.mean()
        ring = (frequencies(self.spacing[:2], size=power.shape[0]) / WIDTH).long()
        sums, counts = (torch.zeros(int(ring.max()) + 1, dtype=power.dtype) for _ in range(2))
        sums.index_add_(0, ring.flatten(), power.flatten())
        counts.index_add_(0, ring.flatten(), torch.ones_like(power).flatten())
        mean = (sums / counts.clamp(min=1)).numpy()
        return mean / mean.sum()


def difference(result: np.ndarray | None, reference: np.ndarray | None, frequency: np.ndarray) -> float:
    """Return the largest relative difference in the evaluated range; NaN if either is unknown."""
    if result is None or reference is None:
        return float("nan")
    judged = (frequency[: len(reference)] < MOST) & (reference > LEAST * reference.max())
    return float(np.abs(result[: len(reference)][judged] / reference[judged] - 1).max())


def apart(scan: Scan, reference: Scan) -> tuple[float, float]:
    """Return the differences of a scan's edge and noise from the reference's."""
    knots, rings = np.asarray(KNOTS), (np.arange(200) + 0.5) * WIDTH
    return difference(scan.edge(), reference.edge(), knots), difference(scan.noise(), reference.noise(), rings)


def made(source: Scan, reference: Scan) -> Scan | None:
    """Convert a scan to the kernel of a reference as in inference; None if it is not converted."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "reference.nii")
        affine = np.diag([*reference.spacing, 1.0])
        nibabel.Nifti1Image(reference.image.numpy().astype(np.int16), affine).to_filename(target)
        conversion = KernelChoice(target_kernel=str(target))(source.image, source.spacing).conversion
    if not isinstance(conversion, Conversion):
        return None
    return Scan(converted(source.image, source.spacing, conversion).round(), source.spacing)


@torch.no_grad()
def main(data: str, rider: str = "", only: str = "") -> None:
    """Print the table.

    Args:
        data: folder of the scans.
        rider: folder of RIDER's sharp series.
        only: part of the titles of the cases to evaluate.
    """
    print("| source and reference | edge transfer | real scan | noise spectrum | real scan |")
    print("|---|---|---|---|---|")
    more = [Case(RIDER, str(Path(rider).absolute()), "ct/lidc_0002_standard")] if rider else []
    for case in (*CASES, *more):
        if only not in case.title:
            continue
        source, reference = (path_of(data, name) for name in (case.source, case.reference))
        if missing := [path for path in (source, reference) if not path.exists()]:
            print(f"skipped: {case.title}: {missing[0]} does not exist")
            continue
        wanted = Scan.read(reference, case.others)
        result = made(Scan.read(source, case.slices), wanted)
        real = apart(Scan.read(path_of(data, case.real), case.slices), wanted) if case.real else (float("nan"),) * 2
        found = apart(result, wanted) if result else (float("nan"),) * 2
        values = [value for pair in zip(found, real, strict=True) for value in pair]
        print(f"| {case.title} | " + " | ".join("-" if np.isnan(v) else f"{100 * v:.0f} %" for v in values) + " |")


def path_of(data: str, name: str) -> Path:
    """Return the path of an image."""
    return Path(name) if Path(name).is_absolute() else Path(data, f"{name}.nii.gz")


if __name__ == "__main__":
    run_command(main)
