"""Measure the density of the lungs before and after a conversion, in the same mask.

::

    result --pool--> lung mask --+--> source, slab by slab --> histogram of HU --> LAA, Perc15, mean: before
                                 '--> result, slab by slab --> histogram of HU --> LAA, Perc15, mean: after

Both are read from their files, so the values do not depend on whether the result was made in memory or streamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle import __version__
from bundle.geometry import slice_distance
from bundle.images import Opened, Slabs, Volume, slabs
from bundle.runtime.files import atomic
from bundle.scanner import FLOOR
from bundle.transforms.density_interval import NO_LUNG, density_interval, no_uncertainty
from bundle.transforms.lung_density import AREAS, COLUMNS, RANGE, SIDES, densities, histograms
from bundle.transforms.lung_mask import AIR, LungMask, find_lung_mask
from bundle.transforms.prepare import slab_depth

END = ".densitometry.json"
SIDE = 256  # voxels: longest side of the volume in which the lungs are searched
THICK = 3.0  # mm: slice distance above which a warning is given
AT_FLOOR = 10.0  # percent of the lung at -1024 HU above which a warning is given


class Densitometry:
    """Write ``RESULT.densitometry.json`` beside a result, and print it as a table.

    Args:
        spatial_dims: number of spatial axes of the images.
        limits: range that is translated, in HU.
        percentiles: percentiles for images without a unit; null for CTs.

    Raises:
        ValueError: If the settings are not for CTs that show the lung: for 2D images, not in HU, or without dark lung.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        limits: Sequence[float] = (-1200.0, 2000.0),
        percentiles: Sequence[float] | None = None,
    ) -> None:
        reasons = {
            f"spatial_dims is {spatial_dims}": spatial_dims != 3,
            f"percentiles is {percentiles}": percentiles is not None,
            f"the limits {list(limits)} begin above {min(AREAS)} HU": limits[0] > min(AREAS),
        }
        for reason, holds in reasons.items():
            if holds:
                raise ValueError(f"densitometry needs thorax CTs in HU, of three axes, but {reason}; set it to false.")

    def __call__(
        self,
        source: str | Path | Opened,
        result: str | Path,
        warnings: Sequence[str] = (),
        kernel: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Measure the densities, write and print them, and return them as `measured` does.

        Args:
            source: the image that was converted.
            result: path of the result.
            warnings: warnings from when it was made, such as an unknown kernel or an iterative reconstruction.
            kernel: facts about the conversion, see `measured`.

        Raises:
            NotWrittenError: If the file cannot be written.
            ValueError: If the grids differ.
        """
        found = measured(Volume(source), Volume(result), kernel=kernel)
        found["warnings"] += warnings
        with atomic(path_of(Path(result))) as part:
            part.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(as_text(found))
        return found


def path_of(result: Path) -> Path:
    """Return the path of a result's densities."""
    return result.with_name(result.name + END)


def measured(
    source: Volume, result: Volume, thickness: int | None = None, kernel: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the density of both lungs in both images, its interval, and warnings, serializable as JSON.

    Args:
        source: source in HU.
        result: result in HU, on the same grid; the lungs are searched in it.
        thickness: slices that are read together; null for as many as fit into 16 MiB. The values do not depend on it.
        kernel: provenance of the conversion (`bundle.transforms.chosen.Chosen.noted`).

    Raises:
        ValueError: If the grids differ.
    """
    if source.shape != result.shape:
        raise ValueError(
            f"densitometry: result {result.path.name!r} has {result.shape} voxels, its source {source.path.name!r} "
            f"{source.shape}; both must lie on one grid."
        )
    thickness = thickness or slab_depth(source.shape)
    image, factor = pooled(result, thickness)
    spacing = [mm * times for mm, times in zip(result.spacing, factor, strict=True)]
    lungs = find_lung_mask(image, spacing)
    before, after = (histograms(volume, lungs.sides, factor, thickness) for volume in (source, result))
    voxel = abs(float(np.linalg.det(result.affine[:3, :3]))) / 1000
    missing = no_uncertainty(kernel) if lungs.sides.any() else NO_LUNG
    interval = None
    if kernel and not missing:
        interval = density_interval(result, lungs.sides, factor, kernel["uncertainty"], before, after)
    return {
        "source": source.path.name,
        "result": result.path.name,
        "bundle": __version__,
        "mask": {
            "from": "result",
            "pooled_by": list(factor),
            "below_hu": AIR,
            "separated_by": lungs.separated_by or None,
        },
        "before": densities(before, voxel),
        "after": densities(after, voxel),
        "interval_95": interval,
        "no_interval": missing or None,
        "warnings": warned(lungs, slice_distance(source.affine), before),
    }


def pooled(image: Slabs, thickness: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return an image average-pooled to at most 256 voxels per side, `(x, y, z)`, and the factor along each axis.

    The last block of an axis may hold fewer voxels. The values do not depend on the thickness of the slabs.
    """
    factor = tuple(-(-size // SIDE) for size in image.shape)
    step = -(-thickness // factor[2]) * factor[2]
    parts = []
    for start, stop in slabs(image.shape[2], step):
        part = image.slab(start, stop).numpy()
        for axis, times in enumerate(factor):
            starts = np.arange(0, part.shape[axis], times)
            lengths = np.diff(starts, append=part.shape[axis]).astype(np.float32)
            part = np.add.reduceat(part, starts, axis) / np.expand_dims(lengths, [i for i in range(3) if i != axis])
        parts.append(part)
    return np.concatenate(parts, -1), factor


def warned(lungs: LungMask, slices: float, before: Mapping[str, np.ndarray]) -> list[str]:
    """Return warnings why the values may be unreliable.

    Args:
        lungs: the mask.
        slices: distance of the source's slices in mm.
        before: the source's histograms.
    """
    total = int(before["both"].sum())
    floor = 100 * int(before["both"][: int(FLOOR) - RANGE[0] + 1].sum()) / total if total else 0.0
    first = int(np.flatnonzero(before["both"])[0]) if total else 0
    lowest = first + RANGE[0]
    clipped = 100 * int(before["both"][first]) / max(total, 1) if lowest > FLOOR else 0.0
    reasons = {
        "no lung was found: all densities are null": not total,
        "the lungs are cut off by the sides of the image: slices that show them open are left out": lungs.cut_off,
        "left and right lung could not be told apart by their shape: the plane through the body's middle divides "
        "them": lungs.separated_by == "plane",
        f"the slices are {slices:.2f} mm apart, more than {THICK:g} mm: conversions are less certain, and emphysema "
        "is averaged away": slices > THICK,
        f"{floor:.1f} % of the lung lie at {FLOOR:g} HU or below, more than {AT_FLOOR:g} %: values were clipped there, "
        "and are restored in the mean only": floor > AT_FLOOR,
        f"{clipped:.1f} % of the lung lie at {lowest} HU, its lowest value, more than {AT_FLOOR:g} %: values were "
        "clipped there, and darker lung is not seen": clipped > AT_FLOOR,
    }
    return [reason for reason, holds in reasons.items() if holds]


def limits_as_text(found: Mapping[str, Any], name: str) -> list[str]:
    """Return the lower and upper limits for a lung as lines of the table; none if there is no interval."""
    limits = (found["interval_95"] or {}).get(name)
    if limits is None:
        return []
    return [
        f"{f'{name}, {end}':16}"
        + "".join(f"{format(limits[key][k], form) if key in limits else '':>11}" for key, _, form in COLUMNS).rstrip()
        for k, end in enumerate(("95 % from", "95 % to"))
    ]


def as_text(found: Mapping[str, Any]) -> str:
    """Format the values of `measured` as a small table with their warnings."""
    lines = [f"{'densitometry':16}" + "".join(f"{heading:>11}" for _, heading, _ in COLUMNS)]
    for name in SIDES:
        for when in ("before", "after"):
            values = [(found[when][name][key], form) for key, _, form in COLUMNS]
            cells = [f"{'-' if value is None else format(value, form):>11}" for value, form in values]
            lines.append(f"{f'{name}, {when}':16}" + "".join(cells))
        lines += limits_as_text(found, name)
    if reason := found["no_interval"]:
        lines.append(f"no interval: {reason}.")
    return "\n".join([*lines, *(f"warning: {warning.rstrip('.')}." for warning in found["warnings"])])
