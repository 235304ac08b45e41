"""Training patches: a window of an image, a sharp and a soft pair of it, and both pooled to the scale to train.

MONAI dictionary transforms, used one after the other in `configs/train.json`: `windows` cuts, `pairs` simulates the
scanner, `generated` brings in what the scales before made, `conditions` pools, `contrast` bends grey values.
"""

from bundle.patches.conditions import ScaleConditionsd
from bundle.patches.contrast import RandContrastd
from bundle.patches.generated import RandGeneratedd, generate
from bundle.patches.pairs import FindKerneld, RandKernelPaird, kernel_pair_reach
from bundle.patches.windows import RandScalePatchd

__all__ = [
    "FindKerneld",
    "RandContrastd",
    "RandGeneratedd",
    "RandKernelPaird",
    "RandScalePatchd",
    "ScaleConditionsd",
    "generate",
    "kernel_pair_reach",
]
