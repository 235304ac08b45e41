"""Let torchvision's wheel for CUDA be imported beside a PyTorch without: MONAI Label imports it, for nothing used here.

The wheel's compiled part, which declares these operators, cannot be loaded then, and torchvision stops where it
describes them. Declared here they stay without a body. Python runs this file at its start, where its folder is on
``PYTHONPATH``.
"""

from importlib.metadata import PackageNotFoundError, version

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def alike() -> bool:
    """Whether PyTorch and torchvision are of the same build, or one of them is not there."""
    try:
        builds = [version(name).partition("+")[2] for name in ("torch", "torchvision")]
    except PackageNotFoundError:
        return True
    return builds[0] == builds[1]


if not alike():
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(operator)
