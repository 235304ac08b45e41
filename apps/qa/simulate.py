"""Acquire a phantom by the simulated scanner and write it as DICOM, one series for each of its two kernels.

``python -m apps.qa.simulate FOLDER`` writes `FOLDER/sharp` and `FOLDER/soft`, both of one acquisition.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from apps.qa.phantom import Phantom
from apps.qa.phantoms import PHANTOMS
from apps.qa.series import write_slice
from bundle.scanner import RADIUS, SHARP, SOFT, Kernel, acquire

#: Kernel of the drawn phantom, which has passed none: its gain is 1 up to 20 cycles/mm.
IDEAL = Kernel(half=1000.0, cutoff=25.0)
#: Number of drawn points per side of a pixel; the pixel is their mean.
FINE = 2


def reconstruct(
    phantom: Phantom,
    kernels: tuple[Kernel, ...] = (SHARP, SOFT),
    dose: float = 100.0,
    seed: int = 0,
    size: int = 512,
    pixel: float = 0.5,
    thickness: float = 2.5,
) -> Iterator[tuple[float, list[np.ndarray]]]:
    """Yield each slice's z in mm and its reconstruction with each kernel, `(rows, columns)` in HU, int16.

    Args:
        phantom: the phantom to acquire.
        kernels: reconstruction kernels; the noise is that of the same acquisition.
        dose: see `acquire`; 100 gives about 11 HU of noise with the soft and 42 HU with the sharp kernel.
        seed: seed of the noise.
        size: number of pixels per side.
        pixel: pixel size in mm.
        thickness: thickness and distance of slices in mm. One slice lies at z = 0.
    """
    start, stop = phantom.extent
    for number, at in enumerate(range(int(np.ceil(start / thickness)), int(stop / thickness) + 1)):
        z = at * thickness
        whole = size + 2 * RADIUS
        drawn = phantom.slice(z, thickness, FINE * whole, pixel / FINE).reshape(whole, FINE, whole, FINE).mean((1, 3))
        image = torch.from_numpy(drawn)[..., None]
        results = acquire(image, (pixel, pixel, thickness), kernels, dose, seed, (0, 0, number), IDEAL)
        yield z, [result[..., 0].numpy().astype(np.int16) for result in results]


def simulate(
    folder: str, phantom: str = "catphan504", dose: float = 100.0, seed: int = 0, size: int = 512
) -> list[str]:
    """Write the two series of a phantom, 256 mm wide, and return their folders: sharp kernel, soft kernel.

    Args:
        folder: folder in which `sharp` and `soft` are created; they must not exist.
        phantom: one of `PHANTOMS`.
        dose: see `reconstruct`.
        seed: seed of the noise.
        size: number of pixels per side.

    Raises:
        ValueError: If the phantom is unknown.
        FileExistsError: If one of the two folders exists.
    """
    if phantom not in PHANTOMS:
        raise ValueError(f"phantom {phantom!r} cannot be drawn; take one of {', '.join(PHANTOMS)}.")
    folders = [Path(folder) / name for name in ("sharp", "soft")]
    for one in folders:
        if one.exists():
            raise FileExistsError(f"{str(one)!r} exists; remove it, or take another folder.")
    for one in folders:
        one.mkdir(parents=True)
    pixel, thickness = 256 / size, 2.5
    slices = reconstruct(PHANTOMS[phantom](), dose=dose, seed=seed, size=size, pixel=pixel, thickness=thickness)
    for number, (z, results) in enumerate(slices):
        for one, values in zip(folders, results, strict=True):
            write_slice(one / f"{number:03d}.dcm", values, number, z, pixel, thickness, f"{phantom} {one.name} {seed}")
    return [str(one) for one in folders]


if __name__ == "__main__":
    from bundle.runtime.commands import run_command

    run_command(simulate)
