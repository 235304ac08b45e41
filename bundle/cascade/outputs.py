"""Outputs of operations on meta tensors, derived from shapes alone.

PyTorch has these functions too, but some are written in Python, and the first call imports PyTorch's compiler. That
takes as long as running the networks on a small image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

#: Pointwise operations whose output is true or false.
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isfinite"}


def output_of(func: Any, args: Sequence[Any]) -> Tensor | None:
    """Return the output of an operation, or None if only PyTorch itself can tell.

    Args:
        func: an ATen operation.
        args: its positional arguments.
    """
    if not all(leaf.is_meta for leaf in tree_leaves(list(args)) if isinstance(leaf, Tensor)):
        return None
    name = func._schema.name.removeprefix("aten::")
    if torch.Tag.pointwise in func.tags:
        return args[0] if func._schema.is_mutable else _pointwise(name, args)
    known: dict[str, Callable[..., Tensor]] = {"cat": _cat, "_prelu_kernel": _prelu}
    return known[name](*args) if name in known else None


def _pointwise(name: str, args: Sequence[Any]) -> Tensor:
    tensors = [leaf for leaf in tree_leaves(list(args)) if isinstance(leaf, Tensor)]
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    kinds = [tensor.dtype for tensor in tensors if tensor.dim()] or [tensor.dtype for tensor in tensors]
    kind = torch.bool if name in COMPARISONS else reduce(torch.promote_types, kinds)
    return torch.empty(shape, dtype=kind, device="meta")


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return torch.empty(shape, dtype=tensors[0].dtype, device="meta")


def _prelu(image: Tensor, _: Tensor) -> Tensor:
    return torch.empty(image.shape, dtype=image.dtype, device="meta")
