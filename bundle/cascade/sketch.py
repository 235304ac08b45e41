"""Extract the sketch of an image: thin edges, weighted by their strength, with bounded reach.

This is Canny's edge detector (Gaussian-derivative gradient, non-maximum suppression, two thresholds with hysteresis) in
2D and 3D, with two changes that make it the same in every tile: thresholds are absolute, not relative to the volume's
extrema, and hysteresis grows a fixed number of steps instead of following a contour across the image. In Uzunova et
al. 2019, section 2.1, edges are the condition of every scale; the weighting distinguishes faint from strong edges.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: A gradient component below this fraction of the largest one is rounded to 0: tan 22.5 degrees.
DIAGONAL = math.sqrt(2) - 1


def gaussian(sigma: float, radius: int) -> tuple[list[float], list[float]]:
    """Return the taps, from the centre outwards, of a Gaussian (sum 1) and its derivative (1 on a ramp of slope 1)."""
    smooth = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(radius + 1)]
    slope = [x * tap for x, tap in enumerate(smooth)]
    total = 2 * sum(smooth) - smooth[0]
    scale = 2 * sum(x * tap for x, tap in enumerate(slope))
    return [tap / total for tap in smooth], [tap / scale for tap in slope]


def correlate(image: Tensor, taps: list[float], dim: int, odd: bool) -> Tensor:
    """Correlate an image with a filter along one axis, and keep the part where all taps lie inside the image.

    The products are added one pair of taps at a time. Unlike with a library's convolution, the last bit of the result
    does not depend on the shape of the tensor, so thresholds act the same in every tile.

    Args:
        image: any tensor.
        taps: the centre tap, then those of one side.
        dim: the axis.
        odd: whether the taps of the other side have the opposite sign.
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
    """Mark edge voxels and their neighbours along an axis; the outermost voxels are dropped.

    Applied axis by axis, this is a maximum over a cube, and many times faster than max pooling.
    """
    length = edge.shape[dim] - 2
    return edge.narrow(dim, 0, length) | edge.narrow(dim, 1, length) | edge.narrow(dim, 2, length)


class Sketch(nn.Module):
    """Extract the edges of an image, each with its strength.

    Args:
        spatial_dims: 2 or 3.
        sigma: standard deviation of the Gaussian in voxels.
        low: gradient magnitude, in intensity units per voxel, from which a ridge may continue an edge.
        high: gradient magnitude from which a ridge is an edge by itself.
        steps: number of voxels by which an edge is continued along ridges above ``low``.
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
        #: Distance in voxels up to which a voxel of the sketch depends on the image.
        self.reach = radius + 1 + steps
        #: Voxels of an image processed at once, so that they stay in the processor's cache.
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
        """Return the sketch without noise, computed on the whole image at once."""
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
        """Mark voxels whose magnitude is a maximum along their gradient; the outermost voxels are dropped.

        The gradient is rounded to the direction of one of the 3^n - 1 neighbours, and the voxel is compared with that
        neighbour and the opposite one. Of two equal neighbours the later one is kept.
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
        # The neighbour as an offset in the flattened tensor, summed over the axes from the last one.
        step = torch.zeros_like(index)
        stride = 1
        for i in range(self.spatial_dims - 1, -1, -1):
            component = gradient[i]
            turn = (component > limit).to(torch.int8) - (component < opposite).to(torch.int8)
            for dim in range(2, self.spatial_dims + 2):
                turn = turn.narrow(dim, 1, turn.shape[dim] - 2)
            step.add_(turn, alpha=stride)
            stride = stride * component.shape[i + 2]
        # ">=" ahead and ">" behind: of a plateau of two voxels, one is kept.
        ahead = flat.index_select(0, (index + step).flatten()).reshape(magnitude.shape)
        behind = flat.index_select(0, (index - step).flatten()).reshape(magnitude.shape)
        return (magnitude >= ahead) & (magnitude > behind)
