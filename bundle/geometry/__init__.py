"""Where images are read and written, in whole voxels and in mm.

- `tiles`: an image cut into tiles with their halos; `pyramid`: its scales;
- `windows`: windows that may reach beyond the border; `resample`: pooling and upsampling;
- `affines`: voxel sizes; `position_noise`: noise as a function of the position.
"""

from bundle.geometry.affines import coarser_affine, spacing_of
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
    "STEP",
    "Tile",
    "Window",
    "channels_last",
    "clip_window",
    "coarser",
    "coarser_affine",
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
    "spacing_of",
    "splitmix64",
    "strided_tiles",
    "support",
    "tiles",
    "upsample",
    "upsampled_window",
    "white_noise",
]
