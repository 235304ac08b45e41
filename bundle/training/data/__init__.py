"""Make training patches: cut a window of an image, make a sharp and a soft pair of it, and pool both to one scale.

`packing` stores images so that windows are read quickly (`packed_image`), `noise` removes their noise and makes new
noise in projections, `folds` splits them by patient. The other modules hold MONAI dictionary transforms, which
`configs/train.json` applies one after the other: `patches` and `whole_image` cut (`windows` has what both share),
`simulated_pairs` simulates two kernels and `dose_pairs` two doses, `generated_previous` adds results of the previous
scales, `conditions` pools, `contrast` shifts grey values. `heads` augments head images to look like other scanners'.
"""

from bundle.training.data.conditions import ScaleConditionsd
from bundle.training.data.contrast import RandContrastd
from bundle.training.data.dose_pairs import DoseScan, RandDosePaird
from bundle.training.data.folds import partition_by_patient, sampling_weights
from bundle.training.data.generated_previous import RandGeneratedd, RandOneSliced, generate, restored
from bundle.training.data.heads import RandSkullStripd, RandThickSlicesd, with_drawn
from bundle.training.data.noise import OpenNoised, pack_all
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.patches import RandScalePatchd, window_side
from bundle.training.data.simulated_pairs import FindKerneld, RandKernelPaird, kernel_pair_reach
from bundle.training.data.whole_image import RandWholeImaged

__all__ = [
    "DoseScan",
    "FindKerneld",
    "OpenNoised",
    "PackedImage",
    "RandContrastd",
    "RandDosePaird",
    "RandGeneratedd",
    "RandKernelPaird",
    "RandOneSliced",
    "RandScalePatchd",
    "RandSkullStripd",
    "RandThickSlicesd",
    "RandWholeImaged",
    "ScaleConditionsd",
    "generate",
    "kernel_pair_reach",
    "pack_all",
    "partition_by_patient",
    "restored",
    "sampling_weights",
    "window_side",
    "with_drawn",
]
