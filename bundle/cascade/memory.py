"""How much device memory a network needs, for a window or for a training step, found without computing anything.

The network runs on tensors without data (torch's ``meta`` device) while the bytes of those alive are counted.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Up to this product of the first four axes, PyTorch convolves a single image by columns.
SMALL = 20480


def workspace(image: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> int:
    """Bytes that a convolution needs beside its input and output: the larger of what PyTorch's two ways take.

    Large images: the library reorders what goes in and what comes out. Small ones, on the CPU: columns, a copy of the
    input for every tap of the kernel (`ConvParams::use_mkldnn` in ATen's Convolution.cpp draws the line).
    """
    work = image.numel() + out.numel()
    if image.shape[0] == 1 and image.shape[:4].numel() <= SMALL:
        work = max(work, weight[0].numel() * out[0, 0].numel())
    return work * image.element_size()


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors alive that have no data, and their peak, while it is entered.

    Args:
        spare: bytes that a convolution needs beside its input and output, such as `workspace`.
    """

    def __init__(self, spare: Callable[..., int] | None = None) -> None:
        super().__init__()
        self.spare = spare
        self.live = self.peak = self.largest = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count what it made."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                self._add(tensor)
        work = self.spare(args[0], args[1], out) if self.spare and "convolution" in str(func) else 0
        self.peak = max(self.peak, self.live + work)
        return out

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.largest = max(self.largest, size)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def on_meta(network: nn.Module) -> nn.Module:
    """A copy of the network without data, in eval mode, for `footprint`."""
    if not isinstance(network, torch.jit.ScriptModule):
        return deepcopy(network).to("meta").eval()
    buffer = io.BytesIO()  # a scripted network's parameters cannot be moved to where there are no data
    torch.jit.save(network, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer, map_location="meta").eval()


@dataclass(frozen=True)
class Footprint:
    """Bytes that a network takes: most alive at once, libraries' workspaces included, and the largest tensor's."""

    peak: int
    largest: int


def footprint(network: nn.Module, shape: Sequence[int], **kwargs: Any) -> Footprint:
    """What the network, a copy by `on_meta`, takes to work on a float32 input of a shape, that included."""
    with _LiveBytes(workspace) as count, torch.no_grad():
        network(torch.empty(tuple(shape), device="meta"), **kwargs)
    return Footprint(count.peak, count.largest)


def live_bytes(work: Callable[[torch.device], object]) -> int:
    """Most bytes alive at once of the tensors that a piece of work makes, a training step for instance.

    Parameters, gradients and what autograd saves for the backward pass count; the workspaces of libraries do not. So no
    device does the same operations with less: the lower bound of Uzunova et al. 2019, section 3.1.

    Args:
        work: makes all that it needs, networks and images, on the device that it is given: torch's ``meta``.
    """
    with _LiveBytes() as count:
        work(torch.device("meta"))
    return count.peak
