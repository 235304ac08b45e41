"""What padding around a round field of view does to the estimated kernel and to the lung, on a real pair.

    python -m benchmarks.padding DATA

DATA holds the pair of A0002. Four of its slices are cut to circles that leave out parts of the body, and padded as
scanners do. The table shows the mean absolute error in HU in the lung, against the soft scan cut in the same way: of
the scan as it is, after a Gaussian of 0.85 pixels, and converted as by default; and the mean error in HU of the body
within 1.5 pixels of the circle.
"""

from __future__ import annotations

from pathlib import Path

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import Kernel, edge_spread, matched
from bundle.transforms import KernelChoice

PAIR = ("lungdx_A0002_sharpB70f", "lungdx_A0002_softB40f")
SLICES = (8, 12)
RADII, VALUES = (None, 240, 205), (-2000.0, -1024.0)
LUNG = (-960.0, -500.0)
RIM = 1.5


def main(data: str, pair: tuple[str, str] = PAIR, slices: tuple[int, int] = SLICES) -> None:
    """Print the table.

    Args:
        data: folder of the images.
        pair: names of the sharp and the soft scan.
        slices: first slice, and the one after the last.
    """
    scans = [Volume(next(Path(data).rglob(f"{name}.nii*"))) for name in pair]
    spacing, (sharp, soft) = scans[0].spacing, (scan.slab(*slices) for scan in scans)
    print("| scan | profiles | nothing | Gaussian | converted | at the circle |")
    print("|---|---|---|---|---|---|")
    for name, scan in (("sharp", sharp), ("soft", soft)):
        for radius in RADII:
            for value in VALUES if radius else VALUES[:1]:
                cut, target = (circle(each, radius, value) for each in (scan, soft))
                found = KernelChoice()(cut, spacing, {}).conversion
                made = matched(cut, spacing, found) if isinstance(found, Kernel) else cut
                errors = [lung_error(each, target) for each in (cut, blurred(cut, 0.85), made)]
                cells = [f"{error:.1f}" for error in (*errors, rim_error(made, target, radius))]
                about = f"{name}, circle of {radius} pixels in {value:g} HU" if radius else name
                print(f"| {about} | {edge_spread(cut, spacing).profiles} | {' | '.join(cells)} |", flush=True)


def circle(scan: Tensor, radius: float | None, value: float) -> Tensor:
    """Return a scan, `(x, y, z)`, padded outside a circle of a radius in pixels; null for the scan itself."""
    return scan if radius is None else torch.where(distance(scan) > radius, value, scan)


def distance(scan: Tensor) -> Tensor:
    """Return the distance of each voxel from the middle of its slice, in pixels."""
    x, y = (torch.arange(side) - side // 2 for side in scan.shape[:2])
    return torch.hypot(x[:, None], y[None].to(torch.float32))[..., None].expand(scan.shape)


def blurred(scan: Tensor, pixels: float) -> Tensor:
    """Return a scan after a Gaussian in the slice."""
    return torch.from_numpy(gaussian_filter(scan.numpy(), (pixels, pixels, 0)))


def lung_error(made: Tensor, target: Tensor) -> float:
    """Return the mean absolute error in HU where the smoothed target is lung, away from padding and clipped air."""
    smooth, inside = blurred(target, 2.0), blurred((target > -1024).float(), 4.0) > 0.99
    return float((made - target)[(smooth > LUNG[0]) & (smooth < LUNG[1]) & inside].abs().mean())


def rim_error(made: Tensor, target: Tensor, radius: float | None) -> float:
    """Return the mean error in HU of the body at the inside of a circle; NaN without one."""
    if radius is None:
        return float("nan")
    away = distance(target)
    rim = (away <= radius) & (away > radius - RIM) & (blurred(target, 1.0) > -300)
    return float((made - target)[rim].mean())


if __name__ == "__main__":
    run_command(main)
