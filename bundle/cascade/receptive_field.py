"""Measure the receptive field of a network by probing it, so that no config has to state it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from bundle.geometry import region
from torch import Tensor, nn

#: Length of the bar of noise beyond twice the reach, in voxels: how many are compared after one has been cut off.
CUT_BAR = 8
#: Largest difference of values, relative to the largest value, that counts as float32 rounding.
CUT_TOLERANCE = 1e-4


def measure_reach(network: nn.Module, in_channels: int, spatial_dims: int, limit: int = 128) -> tuple[int, ...]:
    """Return the reach of a network, in voxels per axis: how far away the input still affects an output voxel.

    One voxel of a constant image is set to NaN; the outputs that become NaN depend on it. This is done one axis at a
    time, on a bar as thin as the network allows. Then a bar of noise checks the result: a window that starts or ends
    elsewhere must give the same values wherever its ends are farther away than the reach.

    Args:
        network: network without strides that maps `(batch, in_channels, *spatial)` to the same grid or to its inner
            part.
        in_channels: channels of the input.
        spatial_dims: 2 or 3.
        limit: largest reach to look for.

    Raises:
        ValueError: If the reach exceeds the limit (as with normalisation over the tile), if the network changes the
            grid, or if its values depend on where a window starts (as with windowed attention, strides and position
            embeddings).
    """
    run, noisy = _probe(network, in_channels), _noisy(network)
    sizes = (side for side in range(1, 2 * limit + 2, 2) if run((side,) * spatial_dims) is not None)
    thin = [next(sizes, 0)] * spatial_dims
    if not thin[0]:
        raise ValueError(
            f"the network accepts no image of an odd number of voxels a side, up to {2 * limit + 1}: it must be "
            "stride-free, and must not look in fixed windows."
        )
    for axis in range(spatial_dims):  # a network that works within the slice accepts a single slice
        thin = single if run(single := _bar(thin, 1, axis)) is not None else thin
    reaches = []
    for axis in range(spatial_dims):
        side = 2 * thin[axis] + 15
        while True:
            shape = _bar(thin, side, axis)
            out = run(shape, axis)
            if out is None:
                raise ValueError(
                    f"the network accepts {tuple(thin)} voxels, but not {tuple(shape)}: it must be stride-free."
                )
            trim = side - out.shape[axis + 2]
            if trim < 0 or trim % 2:
                raise ValueError(
                    f"the network returns {out.shape[axis + 2]} voxels for {side}: it must keep the grid, less the "
                    "same margin on both sides."
                )
            hit = _hit(out, axis)
            reach = int((hit + trim // 2 - side // 2).abs().max()) if len(hit) else 0
            if reach < side // 2 - trim // 2:  # the outermost outputs no longer depend on the voxel
                reaches.append(max(reach, trim // 2))
                break
            side = 2 * side + 1
            if side > 4 * limit:
                raise ValueError(
                    f"an output voxel depends on input more than {limit} voxels away along axis {axis}. A generator of "
                    "the scales above 0 must not normalise over the tile (instance, group, layer norm): take norm=None."
                )
        bar = _bar(thin, 2 * reaches[-1] + CUT_BAR, axis)
        _check_translation(noisy, in_channels, bar, axis, reaches[-1])
    return tuple(reaches)


def measure_strided_reach(
    network: nn.Module, in_channels: int, spatial_dims: int, stride: int, limit: int = 128
) -> tuple[int, ...]:
    """Return the reach of a network with strides, on grids that are multiples of its stride; empty if unlimited.

    The reach of a voxel depends on its position within a stride; the largest one counts. If a network's values depend
    on more than this position, its reach counts as unlimited too: the network needs the whole image.

    Args:
        network: network that maps `(batch, in_channels, *spatial)` to the same grid.
        in_channels: channels of the input.
        spatial_dims: 2 or 3.
        stride: product of the network's strides.
        limit: largest reach to look for.
    """
    run, noisy = _probe(network, in_channels), _noisy(network)
    thin, reaches = [stride] * spatial_dims, []
    for axis in range(spatial_dims):
        side = 8 * stride
        while True:
            middle = side // 2 // stride * stride
            places = range(middle, middle + stride)
            outs = [run(_bar(thin, side, axis), axis, place) for place in places]
            if any(out is None or out.shape[axis + 2] != side for out in outs):
                return ()
            hits = [_hit(out, axis) for out in outs if out is not None]
            if all(len(hit) and hit.min() > 0 and hit.max() < side - 1 for hit in hits):
                reach = max(int((hit - place).abs().max()) for hit, place in zip(hits, places, strict=True))
                shape = _bar(thin, (2 * -(-reach // stride) + 3) * stride, axis)
                difference = _difference(noisy, in_channels, shape, axis, reach, stride)
                if difference is None or not difference <= CUT_TOLERANCE:
                    return ()
                reaches.append(reach)
                break
            side *= 2
            if side > 4 * limit:
                return ()
    return tuple(reaches)


def _check_translation(noisy: nn.Module, in_channels: int, shape: Sequence[int], axis: int, reach: int) -> None:
    """Check that a network's values do not depend on where a window starts or ends.

    Raises:
        ValueError: If a value differs, or the network does not accept the window.
    """
    difference = _difference(noisy, in_channels, shape, axis, reach)
    if difference is None:
        raise ValueError(
            f"the network accepts {shape[axis]} voxels along axis {axis}, but not {shape[axis] - 1}: a generator of "
            "the scales above 0 must be stride-free."
        )
    if not difference <= CUT_TOLERANCE:
        raise ValueError(
            f"the network's values depend on where a window begins: along axis {axis} they differ by up to "
            f"{difference:.3g} of the largest once one voxel is cut off. A generator of the scales above 0 must not "
            "look in fixed windows (windowed attention), stride, or embed positions."
        )


def _noisy(network: nn.Module) -> nn.Module:
    """Return a copy of a network, with noise in parameters that are still zero: they would hide a dependence."""
    noisy = deepcopy(network).float().cpu().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in noisy.parameters():
        if not parameter.any():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    return noisy


def _difference(
    noisy: nn.Module, in_channels: int, shape: Sequence[int], axis: int, reach: int, step: int = 1
) -> float | None:
    """Return the largest relative difference after cutting a bar of noise; None if the network refuses the cut bar.

    ::

        whole    o o o o o o o o o o o o
        window     o o o o o o o o o o o    cut by one step at the front, then by one step at the back
        compared       = = = = = = =        farther from both ends than the reach
    """
    image = torch.randn((1, in_channels, *shape), generator=torch.Generator().manual_seed(1))
    found = []
    with torch.no_grad():
        whole = noisy(image)
        inner = reach - (shape[axis] - whole.shape[axis + 2]) // 2  # outputs near an end that depend on padding
        for front in (step, 0):
            try:
                cut = noisy(image.narrow(axis + 2, front, shape[axis] - step))
            except (RuntimeError, ValueError):
                return None
            length = cut.shape[axis + 2] - 2 * inner
            difference = cut.narrow(axis + 2, inner, length) - whole.narrow(axis + 2, inner + front, length)
            apart = difference.abs().max()
            found.append(apart / whole.abs().max() if apart else apart)  # NaN is truthy, and not within any tolerance
    return float(torch.stack(found).max())


def _probe(network: nn.Module, in_channels: int) -> Callable[..., Tensor | None]:
    """Return a function that runs the network on zeros of a shape, with one voxel set to NaN.

    The voxel lies in the middle, except along the axis for which a position is given. The function returns None if the
    network does not accept the shape.
    """
    probe = deepcopy(network).double().cpu().eval()  # float64 uses plain kernels, which read only the voxels they need

    def run(shape: Sequence[int], axis: int = 0, place: int | None = None) -> Tensor | None:
        x = torch.zeros((1, in_channels, *shape), dtype=torch.float64)
        at = _bar([side // 2 for side in shape], shape[axis] // 2 if place is None else place, axis)
        x[region(tuple(slice(i, i + 1) for i in at))] = torch.nan
        try:
            with torch.no_grad():
                return probe(x)
        except (RuntimeError, ValueError):  # smaller than the network's kernels
            return None

    return run


def _bar(thin: Sequence[int], side: int, axis: int) -> list[int]:
    """Return the shape of a bar along an axis, or a position in it: ``thin`` with ``side`` at that axis."""
    return [*thin[:axis], side, *thin[axis + 1 :]]


def _hit(out: Tensor, axis: int) -> Tensor:
    """Return the positions along an axis at which a value is NaN."""
    return torch.isnan(out).movedim(axis + 2, 0).flatten(1).any(1).nonzero().flatten()
