"""Find the left and the right lung in a coarse CT.

::

    . . . . . . . . . .       . air that reaches the sides of the slice: outside
    . # # # # # # # # .       # body
    . # R R # o # L L .       o airway: followed from the head down, and excluded
    . # R R # # # L # .       R L remaining air: lung
    . . . . . . . . . .
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bundle.scanner import largest_part
from bundle.transforms.lungs import labels_at_sides, large_parts
from scipy.ndimage import center_of_mass, distance_transform_edt, find_objects, generate_binary_structure, label
from skimage.measure import regionprops
from skimage.segmentation import watershed

LEFT, RIGHT = 1, 2
AIR = -500.0  # HU: air and lung lie below
BODY = -200.0  # HU: the body lies above, and the shell of most tables below
PLAIN = (-985.0, -960.0)  # HU: bounds of the limit below which a component is plain air, as beside the patient, ...
ABOVE = 15.0  # HU: ... which lies so far above the air outside the body; the worst emphysema leaves lungs above -950
LEAST = 200.0  # ml: less air in a body is not lung
AIRWAY = (50.0, 800.0)  # mm^2: smallest and largest airway in a slice
MIDLINE = 25.0  # mm from the middle of the body, within which an airway may begin
EXTENT = 0.5  # minimum share of its bounding box that the first slice of an airway fills
LONG = 30.0  # mm: an airway that ends after this length is not searched for again
DEPTHS = range(21)  # mm by which the lungs are eroded until they separate
SMALLER = 0.2  # minimum size of the smaller lung, as a share of the larger one
OPEN = 100.0  # mm^2: more outside air next to lung in adjacent slices means that the image's sides cut off the lung
NEXT = slice(None, -1), slice(1, None)  # each slice but the last, and the one above it
#: Neighbours of a voxel in its slice.
IN_SLICE = np.pad(generate_binary_structure(2, 1)[..., None], [(0, 0), (0, 0), (1, 1)])


@dataclass(frozen=True, eq=False)
class LungMask:
    """The lungs in a coarse CT.

    Args:
        sides: `(x, y, z)`, uint8: `LEFT`, `RIGHT`, or 0.
        separated_by: ``components``, ``watershed`` or ``plane``, see `find_lung_mask`; empty without lungs.
        cut_off: whether the sides of the image cut off the lung, so that some of its slices are missing in the mask.
    """

    sides: np.ndarray
    separated_by: str = ""
    cut_off: bool = False


def find_lung_mask(image: np.ndarray, spacing: Sequence[float]) -> LungMask:
    """Find the lungs: air inside the body.

    1. The body is the largest component above -200 HU. All other voxels connected to the sides of their slice are
       outside.
    2. Lung is air inside the body, below -500 HU, without the airways (see `find_airways`) and components of plain air
       (see `plain_air`), in components larger than a tenth of the largest one. If its total volume is below 200 ml, it
       is not lung.
    3. The largest components on either side of the body's middle are the lungs if the smaller one has at least a fifth
       of the larger one's volume. If there is no such pair, the lungs touch: they are eroded, by 1 mm up to 20 mm,
       until there is one, which grows back by a watershed on the distance to the border. If that fails too, the plane
       through the body's middle divides them. Other components belong to the side of their centroid.

    Args:
        image: `(x, y, z)` in HU: to the patient's right, front and head.
        spacing: voxel size in mm.
    """
    body = inside_body(image)
    lung = body & (image < AIR)
    lung &= ~find_airways(lung, body, spacing)
    parts, _ = label(lung)
    parts[plain_air(image, parts, body)] = 0
    lung = large_parts(parts)
    if lung.sum() * float(np.prod(spacing)) / 1000 < LEAST:
        return LungMask(np.zeros(lung.shape, np.uint8))
    weights = body[..., lung.any((0, 1))].sum((1, 2))
    sides, separated_by = split(lung, spacing, float(np.arange(len(lung)) @ weights / weights.sum()))
    outside = ~body & (image < AIR)
    met = sum(int((lung[..., here] & outside[..., there]).sum()) for here, there in (NEXT, NEXT[::-1]))
    return LungMask(sides, separated_by, met * spacing[0] * spacing[1] > OPEN)


def inside_body(image: np.ndarray) -> np.ndarray:
    """Return the body with everything it encloses in its slices, `(x, y, z)`, boolean; all false if there is none."""
    largest = largest_part(image > BODY)
    if not largest.any():
        return largest
    parts, _ = label(~largest, IN_SLICE)
    outside = np.zeros(parts.max() + 1, bool)
    outside[labels_at_sides(parts)] = True
    outside[0] = False
    return np.asarray(~outside[parts])


def plain_air(image: np.ndarray, parts: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Find components that are as dark as the air outside the body: that between the patient and a dense table.

    A component is plain air if its mean is at most 15 HU above the median of the air outside, and in any case below
    -985 HU, but never above -960 HU.

    Args:
        image: `(x, y, z)` in HU.
        parts: components, from 1 on; 0 for the rest.
        body: the body with everything it encloses, boolean.
    """
    outside = image[~body & (image < AIR)]
    limit = np.clip(np.median(outside) + ABOVE if outside.size else PLAIN[0], *PLAIN)
    means = np.bincount(parts.ravel(), image.ravel()) / np.maximum(np.bincount(parts.ravel()), 1)
    return np.asarray((means < limit)[parts] & (parts > 0))


def find_airways(air: np.ndarray, body: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Find the trachea, and the bronchi as far as they are separate from the lung, from the head down.

    The airway begins as a compact component of a slice, of 50 to 800 mm^2, within 25 mm of the body's middle, above the
    slice with the most air. It continues with the overlapping components of up to 800 mm^2 in each next slice.

    Args:
        air: air inside the body, `(x, y, z)`, boolean.
        body: the body with everything it encloses, boolean.
        spacing: voxel size in mm.
    """
    found, above, length = np.zeros_like(air), np.zeros(air.shape[:2], bool), 0.0
    pixel, most = spacing[0] * spacing[1], int(np.argmax(air.sum((0, 1))))
    for z in reversed(range(air.shape[2])):
        parts, _ = label(air[..., z])
        small = np.bincount(parts.ravel()) * pixel <= AIRWAY[1]
        small[0] = False
        chosen = np.unique(parts[above])
        if z > most and not above.any() and length < LONG and body[..., z].any():
            middle = center_of_mass(body[..., z])[0]
            chosen = np.array(
                [
                    part.label
                    for part in regionprops(parts)
                    if part.area * pixel >= AIRWAY[0]
                    and part.extent >= EXTENT
                    and abs(part.centroid[0] - middle) * spacing[0] <= MIDLINE
                ],
                int,
            )
            length = 0.0
        above = np.isin(parts, chosen[small[chosen]])
        length += spacing[2] * bool(above.any())
        found[..., z] = above
    return found


def split(lung: np.ndarray, spacing: Sequence[float], middle: float) -> tuple[np.ndarray, str]:
    """Divide the lungs; return the sides, and how they were separated, see `LungMask`.

    Args:
        lung: `(x, y, z)`, boolean, not empty.
        spacing: voxel size in mm.
        middle: middle of the body, as an index along x.
    """
    sides = np.zeros(lung.shape, np.uint8)
    (box,) = find_objects(lung.astype(np.uint8))
    lung, inner, middle = lung[box], sides[box], middle - box[0].start
    distance = distance_transform_edt(np.pad(lung, [(1, 1), (1, 1), (0, 0)]), sampling=spacing)[1:-1, 1:-1]
    for depth in DEPTHS:
        parts, count = label(distance > depth)
        if not count:
            break
        sizes, right = np.bincount(parts.ravel())[1:], on_right(parts, middle)
        of_side = np.stack([sizes * ~right, sizes * right])
        if of_side.max(1).min() < SMALLER * of_side.max():
            continue
        for side, seed in zip((LEFT, RIGHT), of_side.argmax(1), strict=True):
            inner[parts == seed + 1] = side
        if depth:
            inner[:] = watershed(-distance, inner, mask=lung)
        others, _ = label(lung & (inner == 0))
        inner += np.concatenate([[0], np.where(on_right(others, middle), RIGHT, LEFT)]).astype(np.uint8)[others]
        return sides, "watershed" if depth else "components"
    inner[:] = lung * np.where(np.arange(len(lung)) > middle, RIGHT, LEFT)[:, None, None]
    return sides, "plane"


def on_right(parts: np.ndarray, middle: float) -> np.ndarray:
    """Return for each component, from 1 on, whether its centroid lies to the right of the middle; boolean."""
    voxels = np.bincount(parts.ravel())
    along = np.broadcast_to(np.arange(len(parts))[:, None, None], parts.shape)
    return np.asarray(np.bincount(parts.ravel(), along.ravel())[1:] > middle * voxels[1:])
