"""Training patches: a window of an image, a sharp and a soft pair of it, and both pooled to the scale to train.

`packing` puts images on disk so that windows are read quickly (`packed_image`), `noise` takes their noise off and makes
new noise in projections, `folds` divides them by patient. Then MONAI dictionary transforms, used one after the other in
`configs/train.json`: `patches` and `whole_image` cut (`windows` has what both need), `simulated_pairs` simulates two
kernels and `dose_pairs` two doses, `generated_previous` adds what the scales before made, `conditions` pools,
`contrast` bends grey values. `heads` makes further heads of the training's, as other scanners give them.
"""

from bundle.training.data.conditions import ScaleConditionsd
from bundle.training.data.contrast import RandContrastd
from bundle.training.data.dose_pairs import DoseScan, RandDosePaird
from bundle.training.data.folds import partition_by_patient
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
    "window_side",
    "with_drawn",
]
