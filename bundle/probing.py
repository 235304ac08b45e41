"""How far a network looks: found by trying, so that no config can be wrong about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from bundle.geometry import region
from torch import Tensor, nn


def reach(network: nn.Module, in_channels: int, spatial_dims: int, limit: int = 128) -> tuple[int, ...]:
    """How far, in voxels per axis, an output voxel looks: found by probing, never typed into a config.

    One voxel of a constant image is made not-a-number; the outputs that it turns into not-a-number are those that
    depend on it. One axis at a time, on a bar as thin as the network allows.

    Args:
        network: stride-free, `(batch, in_channels, *spatial)` to the same grid or to its inner part.
        in_channels: channels of its input.
        spatial_dims: 2 or 3.
        limit: largest reach that is looked for.

    Raises:
        ValueError: where the reach is beyond the limit, as it is with a normalisation over the tile, or the network
            changes the voxel size.
    """
    run = _probe(network, in_channels, spatial_dims)
    thin = next(side for side in range(1, 4 * limit, 2) if run((side,) * spatial_dims, side // 2) is not None)
    found = []
    for axis in range(spatial_dims):
        side = 2 * thin + 15
        while True:
            shape = _bar(thin, side, axis, spatial_dims)
            out = run(shape, side // 2)
            if out is None:
                raise ValueError(
                    f"the network takes {thin} voxels a side, but not {tuple(shape)}: it has to be stride-free."
                )
            trim = side - out.shape[axis + 2]
            if trim < 0 or trim % 2:
                raise ValueError(
                    f"the network makes {out.shape[axis + 2]} voxels of {side}: it has to keep the grid, less the same "
                    "margin on both sides."
                )
            hit = _hit(out, axis)
            far = int((hit + trim // 2 - side // 2).abs().max()) if len(hit) else 0
            if far < side // 2 - trim // 2:  # the outermost outputs do not see it any more
                found.append(max(far, trim // 2))
                break
            side = 2 * side + 1
            if side > 4 * limit:
                raise ValueError(
                    f"an output voxel depends on input more than {limit} voxels away along axis {axis}. A generator of "
                    "the scales above 0 must not normalise over the tile (instance, group, layer norm): take norm=None."
                )
    return tuple(found)


def strided_reach(
    network: nn.Module, in_channels: int, spatial_dims: int, stride: int, limit: int = 128
) -> tuple[int, ...]:
    """The same of a network that strides, and keeps grids of a multiple of its stride; empty where there is no limit.

    How far a voxel reaches depends on its place between two strides: the largest counts.

    Args:
        network: `(batch, in_channels, *spatial)` to the same grid.
        in_channels: channels of its input.
        spatial_dims: 2 or 3.
        stride: product of its strides.
        limit: largest reach that is looked for.
    """
    run = _probe(network, in_channels, spatial_dims)
    found = []
    for axis in range(spatial_dims):
        side = 8 * stride
        while True:
            middle = side // 2 // stride * stride
            places = range(middle, middle + stride)
            outs = [run(_bar(stride, side, axis, spatial_dims), place) for place in places]
            if any(out is None or out.shape[axis + 2] != side for out in outs):
                return ()
            hits = [_hit(out, axis) for out in outs if out is not None]
            if all(len(hit) and hit.min() > 0 and hit.max() < side - 1 for hit in hits):
                found.append(max(int((hit - place).abs().max()) for hit, place in zip(hits, places, strict=True)))
                break
            side *= 2
            if side > 4 * limit:
                return ()
    return tuple(found)


def _probe(network: nn.Module, in_channels: int, spatial_dims: int) -> Callable[[Sequence[int], int], Tensor | None]:
    """What runs a network on zeros of a shape, one of its voxels not-a-number; nothing where it takes no such shape.

    The voxel lies in the middle, but for the longest axis, where its place is told.
    """
    probe = deepcopy(network).double().cpu().eval()  # double: plain kernels, which touch just what they need

    def run(shape: Sequence[int], place: int) -> Tensor | None:
        x = torch.zeros((1, in_channels, *shape), dtype=torch.float64)
        long = max(range(spatial_dims), key=lambda i: shape[i])
        at = [place if i == long else side // 2 for i, side in enumerate(shape)]
        x[region(tuple(slice(i, i + 1) for i in at))] = torch.nan
        try:
            with torch.no_grad():
                return probe(x)
        except (RuntimeError, ValueError):  # smaller than the network's kernels
            return None

    return run


def _bar(thin: int, side: int, axis: int, spatial_dims: int) -> list[int]:
    """The shape of a bar along an axis."""
    return [side if i == axis else thin for i in range(spatial_dims)]


def _hit(out: Tensor, axis: int) -> Tensor:
    """The places along an axis at which something is not-a-number."""
    return torch.isnan(out).movedim(axis + 2, 0).flatten(1).any(1).nonzero().flatten()
