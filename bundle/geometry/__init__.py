"""Geometry of images: which voxels are read and written, and where they lie in mm.

- `tiles`: cuts an image into tiles with halos; `pyramid`: shapes and pooling factors of its scales;
- `windows`: reads windows that may extend beyond the border; `resample`: crops, pads, pools and upsamples;
- `affines`: voxel spacing, affines of scales, distance of grids; `position_noise`: noise as a function of position.
"""

from bundle.geometry.affines import ALIKE, coarser_affine, corners_apart, slice_distance, spacing_of
from bundle.geometry.position_noise import STEP, splitmix64, white_noise
from bundle.geometry.pyramid import coarser, finer, pyramid, shapes, support
from bundle.geometry.resample import channels_last, crop, extend, pool, upsample
from bundle.geometry.tiles import (
    Tile,
    Window,
    clip_window,
    count_tiles,
    cover,
    cover_strided,
    even,
    halves,
    region,
    strided_tiles,
    tiles,
)
from bundle.geometry.windows import read_window, repeat_border, upsampled_window

__all__ = [
    "ALIKE",
    "STEP",
    "Tile",
    "Window",
    "channels_last",
    "clip_window",
    "coarser",
    "coarser_affine",
    "corners_apart",
    "count_tiles",
    "cover",
    "cover_strided",
    "crop",
    "even",
    "extend",
    "finer",
    "halves",
    "pool",
    "pyramid",
    "read_window",
    "region",
    "repeat_border",
    "shapes",
    "slice_distance",
    "spacing_of",
    "splitmix64",
    "strided_tiles",
    "support",
    "tiles",
    "upsample",
    "upsampled_window",
    "white_noise",
]
