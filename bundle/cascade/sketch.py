"""Image to sketch: thin edges, weighted by their strength, of bounded reach.

Canny's recipe (Gaussian-derivative gradient, non-maximum suppression, two thresholds with hysteresis) in any dimension,
with two changes that make it the same in every tile: thresholds are absolute, not relative to the volume's extrema,
and hysteresis grows a fixed number of steps instead of following a contour across the image. Edges are conditions of
every scale in Uzunova et al. 2019, section 2.1; the weighting keeps faint and strong edges apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Components of a gradient below this share of its largest one do not turn it to the diagonal: tan 22.5 degrees.
DIAGONAL = math.sqrt(2) - 1


def gaussian(sigma: float, radius: int) -> tuple[list[float], list[float]]:
    """Return the taps of a Gaussian, which sum to 1, and of its derivative, 1 on a ramp of slope 1; middle first."""
    smooth = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(radius + 1)]
    slope = [x * tap for x, tap in enumerate(smooth)]
    total = 2 * sum(smooth) - smooth[0]
    scale = 2 * sum(x * tap for x, tap in enumerate(slope))
    return [tap / total for tap in smooth], [tap / scale for tap in slope]


def correlate(image: Tensor, taps: list[float], dim: int, odd: bool) -> Tensor:
    """Correlate one axis with taps given from the middle outwards; keep the part where all of them lie inside.

    The products are added one pair of taps after the other, each rounded alone: the numbers do not depend on the
    tensor's shape, as those of a library convolution do in the last bit. So thresholds act alike in every tile.

    Args:
        image: any tensor.
        taps: the middle one, then those of one side.
        dim: the axis.
        odd: whether the taps of the other side are their negatives.
    """
    radius = len(taps) - 1
    length = image.shape[dim] - 2 * radius
    out = image.narrow(dim, radius, length) * taps[0]
    for i in range(1, radius + 1):
        before, behind = image.narrow(dim, radius - i, length), image.narrow(dim, radius + i, length)
        pair = behind - before if odd else behind + before
        pair *= taps[i]
        out += pair
    return out


def dilate(edge: Tensor, dim: int) -> Tensor:
    """Mark voxels that are an edge or have a neighbour along an axis that is one; the outermost voxels are dropped.

    Axis by axis this is a maximum over a cube, many times faster than max pooling.
    """
    length = edge.shape[dim] - 2
    return edge.narrow(dim, 0, length) | edge.narrow(dim, 1, length) | edge.narrow(dim, 2, length)


class Sketch(nn.Module):
    """Extract the edges of an image, each with its strength.

    Args:
        spatial_dims: 2 or 3.
        sigma: width of the Gaussian in voxels.
        low: gradient magnitude, in intensity units per voxel, from which a ridge may continue an edge.
        high: gradient magnitude from which a ridge is an edge by itself.
        steps: how many voxels an edge is continued along ridges above ``low``.
        noise: standard deviation of the noise added to the sketch in training mode, so that generators do not depend
            on perfect edges (Uzunova et al. 2019, section 2.2).

    Raises:
        ValueError: If sigma is not positive, steps or noise is negative, or 0 <= low <= high does not hold.
    """

    def __init__(
        self,
        spatial_dims: int,
        sigma: float = 1.0,
        low: float = 0.05,
        high: float = 0.15,
        steps: int = 2,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        if sigma <= 0 or steps < 0 or noise < 0 or not 0 <= low <= high:
            raise ValueError(
                f"a sketch needs sigma > 0, steps >= 0, noise >= 0 and 0 <= low <= high; got sigma {sigma}, "
                f"steps {steps}, noise {noise}, low {low}, high {high}."
            )
        radius = math.ceil(2.5 * sigma)
        self.spatial_dims = spatial_dims
        self.smooth, self.slope = gaussian(sigma, radius)
        self.low, self.high, self.steps, self.noise = float(low), float(high), steps, float(noise)
        self.diagonal = DIAGONAL
        #: Voxels of the image around a voxel of the sketch on which it depends.
        self.reach = radius + 1 + steps
        #: How many voxels of an image are processed together, so that they stay in a processor's cache.
        self.slab_voxels = 3 * 2**19

    def forward(self, image: Tensor) -> Tensor:
        """Sketch the inner part of an image.

        Args:
            image: `(batch, 1, *spatial)`.

        Returns:
            `(batch, 1, *spatial - 2 * reach)`: the gradient magnitude on edges, 0 elsewhere.
        """
        others = image.numel() // (image.shape[0] * image.shape[2])
        whole = image.shape[2] - 2 * self.reach
        number = max(-(-whole // max(self.slab_voxels // others - 2 * self.reach, 1)), 1)
        length = -(-whole // number)
        parts: list[Tensor] = []
        for start in range(0, whole, length):
            parts.append(self.edges(image.narrow(2, start, min(length, whole - start) + 2 * self.reach)))
        sketch = torch.cat(parts, 2)
        if self.training and self.noise > 0:
            sketch = sketch + self.noise * torch.randn_like(sketch)
        return sketch

    def edges(self, image: Tensor) -> Tensor:
        """Return the sketch without noise, of the whole image at once."""
        gradient = self.gradient(image)
        square = gradient[0] * gradient[0]
        for i in range(1, self.spatial_dims):
            square += gradient[i] * gradient[i]
        magnitude = torch.sqrt(square)
        ridge = self.ridges(gradient, magnitude)
        dims = [i + 2 for i in range(self.spatial_dims)]
        for dim in dims:
            magnitude = magnitude.narrow(dim, 1, magnitude.shape[dim] - 2)
        weak = ridge & (magnitude >= self.low)
        edge = ridge & (magnitude >= self.high)
        for _ in range(self.steps):
            for dim in dims:
                edge = dilate(edge, dim)
                weak = weak.narrow(dim, 1, weak.shape[dim] - 2)
            edge = edge & weak
        for dim in dims:
            magnitude = magnitude.narrow(dim, self.steps, magnitude.shape[dim] - 2 * self.steps)
        return magnitude * edge

    def gradient(self, image: Tensor) -> list[Tensor]:
        """Return the Gaussian-derivative gradient, one tensor per axis, where the filters lie inside the image."""
        out: list[Tensor] = []
        smoothed = image  # along the previous axes
        for axis in range(self.spatial_dims):
            component = correlate(smoothed, self.slope, axis + 2, True)
            for other in range(axis + 1, self.spatial_dims):
                component = correlate(component, self.smooth, other + 2, False)
            out.append(component)
            if axis + 1 < self.spatial_dims:
                smoothed = correlate(smoothed, self.smooth, axis + 2, False)
        return out

    def ridges(self, gradient: list[Tensor], magnitude: Tensor) -> Tensor:
        """Mark voxels whose magnitude is largest along their gradient; the outermost voxels are dropped.

        The gradient is rounded to one of the 3^n - 1 neighbours, and the voxel is compared with that neighbour and the
        opposite one. Of two equal neighbours the later one is kept.
        """
        limit = gradient[0].abs()
        for i in range(1, self.spatial_dims):
            limit = torch.maximum(limit, gradient[i].abs())
        limit *= self.diagonal
        opposite = -limit
        whole = torch.int32 if magnitude.numel() < 2**31 else torch.int64
        index = torch.arange(magnitude.numel(), device=magnitude.device, dtype=whole).reshape(magnitude.shape)
        flat = magnitude.reshape(-1)
        for dim in range(2, self.spatial_dims + 2):
            index = index.narrow(dim, 1, index.shape[dim] - 2)
            magnitude = magnitude.narrow(dim, 1, magnitude.shape[dim] - 2)
        # The neighbour as a step in the flattened tensor; row by row, from the last axis on.
        step = torch.zeros_like(index)
        stride = 1
        for i in range(self.spatial_dims - 1, -1, -1):
            component = gradient[i]
            turn = (component > limit).to(torch.int8) - (component < opposite).to(torch.int8)
            for dim in range(2, self.spatial_dims + 2):
                turn = turn.narrow(dim, 1, turn.shape[dim] - 2)
            step.add_(turn, alpha=stride)
            stride = stride * component.shape[i + 2]
        # ">=" on the forward side and ">" on the backward one: a plateau of two keeps one.
        ahead = flat.index_select(0, (index + step).flatten()).reshape(magnitude.shape)
        behind = flat.index_select(0, (index - step).flatten()).reshape(magnitude.shape)
        return (magnitude >= ahead) & (magnitude > behind)
