"""Write a phantom as NIfTI: ``python -m bundle.examples.phantom OUT.nii.gz --shape 160,128,96 --noise 60``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import create_image, held
from bundle.images.own_files import OWN, check_own

SLICES = 16  # slices painted at a time


def write(
    path: str,
    shape: Sequence[int] = (160, 128, 96),
    spacing: Sequence[float] | float | None = None,
    seed: int = 0,
    noise: float = 0.0,
) -> str:
    """Write a phantom as int16 NIfTI (.nii or .nii.gz) and return its path; for the arguments see `ThoraxPhantom`.

    Raises:
        FileExistsError: If another file than one of the bundle's own images is at the path.
        ValueError: If the path has another suffix, or `ThoraxPhantom` raises it.
    """
    if not path.endswith((".nii", ".nii.gz")):
        raise ValueError(f"path {path!r} is not a NIfTI name; end it in .nii or .nii.gz.")
    check_own(path, "phantom")
    phantom = ThoraxPhantom(shape, spacing, seed, noise)
    like = held(np.broadcast_to(np.zeros((), phantom.dtype), phantom.shape), phantom.affine, meta=OWN)
    with create_image(path, like, phantom.dtype) as put:
        for start in range(0, phantom.shape[-1], SLICES):
            slab = phantom[..., start : start + SLICES]
            put((*(slice(0, size) for size in slab.shape[:-1]), slice(start, start + slab.shape[-1])), slab)
    return path


if __name__ == "__main__":
    from bundle.runtime.commands import run_command

    run_command(write)
