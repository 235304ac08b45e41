"""Training patches: a window of an image, a sharp and a soft pair of it, and both pooled to the scale to train.

`packing` puts images on disk so that windows are read quickly (`packed_image`), `folds` divides them by patient. Then
MONAI dictionary transforms, used one after the other in `configs/train.json`: `patches` and `whole_image` cut
(`windows` has what both need), `simulated_pairs` simulates the scanner, `generated_previous` adds what the scales
before made, `conditions` pools, `contrast` bends grey values.
"""

from bundle.training.data.conditions import ScaleConditionsd
from bundle.training.data.contrast import RandContrastd
from bundle.training.data.folds import partition_by_patient
from bundle.training.data.generated_previous import RandGeneratedd, generate, restored
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.patches import RandScalePatchd, window_side
from bundle.training.data.simulated_pairs import FindKerneld, RandKernelPaird, kernel_pair_reach
from bundle.training.data.whole_image import RandWholeImaged

__all__ = [
    "FindKerneld",
    "PackedImage",
    "RandContrastd",
    "RandGeneratedd",
    "RandKernelPaird",
    "RandScalePatchd",
    "RandWholeImaged",
    "ScaleConditionsd",
    "generate",
    "kernel_pair_reach",
    "partition_by_patient",
    "restored",
    "window_side",
]
