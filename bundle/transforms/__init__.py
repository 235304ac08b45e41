"""The MONAI dictionary transforms that `configs/inference.json` names: load, match, paste, save.

In memory (`load`, `save`) or `streaming`; `percentiles`: intensities without a unit on one scale; `lungs`: where they
are.
"""

from bundle.transforms.load import LoadImageOrSeriesd
from bundle.transforms.lungs import lungs
from bundle.transforms.match_kernel import MatchKerneld
from bundle.transforms.paste import MarkInsided, PasteIntoSourced, RoundAndCastd
from bundle.transforms.save import SaveImageAsSourced
from bundle.transforms.streaming import OpenScand, SaveScand

__all__ = [
    "LoadImageOrSeriesd",
    "MarkInsided",
    "MatchKerneld",
    "OpenScand",
    "PasteIntoSourced",
    "RoundAndCastd",
    "SaveImageAsSourced",
    "SaveScand",
    "lungs",
]
