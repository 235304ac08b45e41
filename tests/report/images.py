"""Images whose report one can foresee."""

import numpy as np

from bundle.images import Volume, held

SHAPE, SPACING = (80, 60, 24), (4.0, 4.0, 3.0)
VOXEL = 0.048  # ml
#: What provenance tells of a conversion by default.
FOUND = {"half": 0.8, "order": 6.0, "edge": 0.3, "position": 0.5, "cutoff": 1.5}
TOLD = {
    "version": "1.2.3",
    "weights": {"sha256": "ab" * 32},
    "settings": {"seed": 3},
    "tiles": [{"grid": [8, 8, 8], "number": 1}],
    "warnings": ["the slices are thick."],
    "seconds": 12.5,
    "kernel": {"source": None, "target": None, "about": None, "found": FOUND},
}


def chest(value=-860):
    """Right and left lung of 20 x 30 x 20 voxels in a body, the left one with a tenth of bullae; a bright rib."""
    image = np.full(SHAPE, -1000, np.int16)
    image[10:70, 10:50] = 40
    image[14:34, 15:45, 2:22] = value
    image[14:16, 15:45, 2:22] = -960
    image[46:66, 15:45, 2:22] = value
    image[12:14, 20:24] = 900
    return image


def volume(voxels, spacing=SPACING, path="scan.nii"):
    return Volume(held(voxels, np.diag([*spacing, 1.0]), path))
