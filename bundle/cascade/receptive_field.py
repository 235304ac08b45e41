"""How far a network looks: found by trying, so that no config can be wrong about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from bundle.geometry import region
from torch import Tensor, nn

#: Length of the bar that is cut by one, beside twice the reach: how many voxels are compared. Every window moves.
CUT_BAR = 8
#: By how much values may differ, in shares of the largest: rounding in float32.
CUT_TOLERANCE = 1e-4


def reach(network: nn.Module, in_channels: int, spatial_dims: int, limit: int = 128) -> tuple[int, ...]:
    """How far, in voxels per axis, an output voxel looks: found by probing, never typed into a config.

    One voxel of a constant image is made not-a-number; the outputs that it turns into not-a-number are those that
    depend on it. One axis at a time, on a bar as thin as the network allows. Then the law itself is tried on a longer
    bar of noise: a window that begins or ends elsewhere has to give the same values within the reach.

    Args:
        network: stride-free, `(batch, in_channels, *spatial)` to the same grid or to its inner part.
        in_channels: channels of its input.
        spatial_dims: 2 or 3.
        limit: largest reach that is looked for.

    Raises:
        ValueError: If the reach is beyond the limit, as it is with a normalisation over the tile, if the network
            changes the voxel size, or if its values depend on where a window begins, as those of windowed attention, of
            strides and of position embeddings do.
    """
    run = _probe(network, in_channels, spatial_dims)
    sizes = (side for side in range(1, 2 * limit + 2, 2) if run((side,) * spatial_dims, side // 2) is not None)
    thin = next(sizes, 0)
    if not thin:
        raise ValueError(
            f"the network takes no image of an odd number of voxels a side, up to {2 * limit + 1}: it has to be "
            "stride-free, and must not look in fixed windows."
        )
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
        _check_place(network, in_channels, _bar(thin, 2 * found[-1] + CUT_BAR, axis, spatial_dims), axis, found[-1])
    return tuple(found)


def _check_place(network: nn.Module, in_channels: int, shape: Sequence[int], axis: int, far: int) -> None:
    """Refuse a network whose values depend on where a window begins or ends.

    Raises:
        ValueError: If a value differs, or the network does not take the window.
    """
    apart = _apart(network, in_channels, shape, axis, far)
    if apart is None:
        raise ValueError(
            f"the network takes {shape[axis]} voxels along axis {axis}, but not {shape[axis] - 1}: a generator of the "
            "scales above 0 has to be stride-free."
        )
    if not apart <= CUT_TOLERANCE:
        raise ValueError(
            f"the network's values depend on where a window begins: along axis {axis} they differ by up to "
            f"{apart:.3g} of the largest once one voxel is cut off. A generator of the scales above 0 must not look in "
            "fixed windows (windowed attention), stride, or embed positions."
        )


def _apart(
    network: nn.Module, in_channels: int, shape: Sequence[int], axis: int, far: int, step: int = 1
) -> float | None:
    """By how much values differ once a bar of noise is cut, in shares of the largest; None if the cut is not taken.

    ::

        whole    o o o o o o o o o o o o
        window     o o o o o o o o o o o    cut by a step in front, then by one behind
        compared       = = = = = = =        what lies farther from both ends than the reach
    """
    probe = deepcopy(network).float().cpu().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in probe.parameters():  # what is still zero would hide what depends on it
        if not parameter.any():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    image = torch.randn((1, in_channels, *shape), generator=generator)
    apart = 0.0
    with torch.no_grad():
        whole = probe(image)
        inner = far - (shape[axis] - whole.shape[axis + 2]) // 2  # what a padded network makes of its padding
        for front in (step, 0):
            try:
                cut = probe(image.narrow(axis + 2, front, shape[axis] - step))
            except (RuntimeError, ValueError):
                return None
            length = cut.shape[axis + 2] - 2 * inner
            difference = cut.narrow(axis + 2, inner, length) - whole.narrow(axis + 2, inner + front, length)
            apart = max(apart, float(difference.abs().max() / whole.abs().max()))
    return apart


def strided_reach(
    network: nn.Module, in_channels: int, spatial_dims: int, stride: int, limit: int = 128
) -> tuple[int, ...]:
    """The same of a network that strides, and keeps grids of a multiple of its stride; empty where there is no limit.

    How far a voxel reaches depends on its place between two strides: the largest counts. A network whose values depend
    on more than that place has no limit either: only the whole image will do.

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
                far = max(int((hit - place).abs().max()) for hit, place in zip(hits, places, strict=True))
                shape = _bar(stride, (2 * -(-far // stride) + 3) * stride, axis, spatial_dims)
                apart = _apart(network, in_channels, shape, axis, far, stride)
                if apart is None or not apart <= CUT_TOLERANCE:
                    return ()
                found.append(far)
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
