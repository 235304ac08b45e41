"""Make torchvision's CUDA wheel importable with a PyTorch without CUDA; MONAI Label imports it without using it here.

Its compiled part, which declares these operators, then cannot be loaded, and torchvision fails where it describes them.
Here they are declared without implementation. Python runs this file at startup if its folder is on ``PYTHONPATH``.
"""

from importlib.metadata import PackageNotFoundError, version

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def alike() -> bool:
    """Return whether PyTorch and torchvision are of the same build, or one of them is not installed."""
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
