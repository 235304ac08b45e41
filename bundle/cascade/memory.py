"""Count the device memory that a network needs, without computing anything.

The network runs on tensors without data (torch's ``meta`` device) while the bytes of live tensors are counted.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from bundle.cascade.outputs import output_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Up to this product of the first four axes, PyTorch convolves a single image by unfolding it into columns (im2col).
SMALL = 20480


def workspace(image: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> int:
    """Return the bytes that a convolution needs besides its input and output, the larger of PyTorch's two algorithms.

    For large images, the library reorders input and output. For small images on the CPU, PyTorch makes columns, a copy
    of the input for every tap of the kernel (`ConvParams::use_mkldnn` in ATen's Convolution.cpp decides).
    """
    work = image.numel() + out.numel()
    if image.shape[0] == 1 and image.shape[:4].numel() <= SMALL:
        work = max(work, weight[0].numel() * out[0, 0].numel())
    return work * image.element_size()


class LiveBytes(TorchDispatchMode):
    """Count the bytes of live meta tensors, and their peak, while the mode is active.

    Args:
        workspace: returns the bytes that a convolution needs besides its input and output, such as `workspace`; null
            for none.
    """

    def __init__(self, workspace: Callable[..., int] | None = None) -> None:
        super().__init__()
        self.workspace = workspace
        self.live = self.peak = self.largest = self.features = 0
        self._storages: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, so that PyTorch does not import its compiler merely to switch it off for this mode."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count its outputs."""
        quick = None if kwargs else output_of(func, args)
        out = func(*args, **(kwargs or {})) if quick is None else quick
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                self._add(tensor)
        work = 0
        if "convolution" in str(func):
            work = self.workspace(args[0], args[1], out) if self.workspace else 0
            if isinstance(out, torch.Tensor):  # the backward pass returns three tensors
                self.features = max(self.features, out.untyped_storage().nbytes())
        self.peak = max(self.peak, self.live + work)
        return out

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages.add(key)
        self.live += size
        self.largest = max(self.largest, size)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


def on_meta(network: nn.Module) -> nn.Module:
    """Return a copy of the network on the meta device, in eval mode, for `footprint`."""
    if not isinstance(network, torch.jit.ScriptModule):
        return deepcopy(network).to("meta").eval()
    buffer = io.BytesIO()  # the parameters of a scripted network cannot be moved to the meta device
    torch.jit.save(network, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer, map_location="meta").eval()


def halved(network: nn.Module, parts: Sequence[nn.Module]) -> nn.Module:
    """Let parts of a meta network compute in bfloat16, as autocast does, and return the network.

    Args:
        network: a copy made by `on_meta`; modified in place.
        parts: modules of the network; their inputs are cast.
    """
    for part in parts:
        part.to(torch.bfloat16)
        part.register_forward_pre_hook(lambda _, inputs: tuple(each.to(torch.bfloat16) for each in inputs))
    return network


@dataclass(frozen=True)
class Footprint:
    """Bytes that a network needs.

    Args:
        peak: most bytes of all tensors at once, including the workspaces of libraries.
        largest: bytes of the largest tensor.
        features: bytes of the largest output of a convolution.
    """

    peak: int
    largest: int
    features: int


def footprint(network: nn.Module, shape: Sequence[int], **kwargs: Any) -> Footprint:
    """Return the bytes that a network copied by `on_meta` needs for a float32 input of a shape, input included."""
    with LiveBytes(workspace) as count, torch.no_grad():
        network(torch.empty(tuple(shape), device="meta"), **kwargs)
    return Footprint(count.peak, count.largest, count.features)
