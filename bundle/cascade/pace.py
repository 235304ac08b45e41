"""Predict run time, memory and disk space of a cascade: one tile is timed, the rest follows from operation counts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from bundle.cascade.inferer import CascadeInferer, TileGenerator
from bundle.cascade.memory import footprint, halved, on_meta
from bundle.cascade.rows import pooled, rows, seen, upsampled, written
from bundle.cascade.scratch import stored_bytes
from bundle.cascade.tile_plan import TilePlan, read_shape
from bundle.runtime import in_bfloat16, set_up_malloc
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

#: Seconds of timing after which no further tile is started.
ENOUGH = 0.5


class Pace:
    """Seconds and bytes of a cascade's work on images of known shape.

    Args:
        inferer: the inferer that will translate the images.
        cascade: the cascade, on its device; its weights need not be loaded.
    """

    def __init__(self, inferer: CascadeInferer, cascade: Any) -> None:
        self.inferer, self.cascade = inferer, cascade
        self.device = next(cascade.parameters()).device
        self._second: dict[bool, float] = {}
        self._counted: dict[tuple[int, ...], tuple[int, int]] = {}

    def seconds(self, factors: Sequence[Sequence[int]], plans: Sequence[TilePlan], on_disk: bool) -> float:
        """Return the seconds that all tiles of an image take; the first call measures for about a second.

        Args:
            factors: pooling factors of the pyramid, as `CascadeInferer.plan` returns them.
            plans: tile plans of the scales.
            on_disk: whether the scales are stored on disk. If so, the process frees memory as in a run on disk
                (`bundle.runtime.trim_malloc`) from then on.
        """
        if on_disk not in self._second:
            finest = self._operations(plans, len(plans) - 1)
            self._second[on_disk] = self._measured(factors, plans, on_disk) / finest
        work = (len(plan) * self._operations(plans, scale) for scale, plan in enumerate(plans))
        return self._second[on_disk] * sum(work)

    def tile_bytes(self, plans: Sequence[TilePlan]) -> int:
        """Return the peak device memory, in bytes, of the work on one tile, in the precision that the inferer uses."""
        return max(self._count(plans, scale)[1] for scale in range(len(plans)))

    def finest_bytes(self, plans: Sequence[TilePlan]) -> int:
        """Return the bytes of the work on a tile of the finest scale, at which the most host memory is in use."""
        return self._count(plans, len(plans) - 1)[1]

    def queued_bytes(self, plans: Sequence[TilePlan]) -> int:
        """Return the most bytes of host memory that reading and writing tiles of images on disk take, in float32.

        A tile is read, upsampled and padded, and two are being written; on a CPU this alternates with computing.
        """
        sizes = []
        for scale, plan in enumerate(plans):
            read = math.prod(read_shape(self.cascade, scale, plan.grid, plan.halo, plan.core))
            sizes.append(4 * (read * (5 if scale else 2) + 2 * math.prod(plan.core)))
        return max(sizes)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of the networks' parameters."""
        return sum(each.numel() * each.element_size() for each in self.cascade.parameters())

    def _operations(self, plans: Sequence[TilePlan], scale: int) -> int:
        return self._count(plans, scale)[0]

    def _count(self, plans: Sequence[TilePlan], scale: int) -> tuple[int, int]:
        """Return the number of operations and the peak bytes of one tile of a scale."""
        plan = plans[scale]
        shape = (1, 2 if scale else 1, *read_shape(self.cascade, scale, plan.grid, plan.halo, plan.core))
        if (scale, *shape) not in self._counted:
            with FlopCounterMode(display=False) as operations, torch.no_grad():
                self._meta(torch.empty(shape, device="meta"), scale=scale)
            self._counted[(scale, *shape)] = (
                operations.get_total_flops(),
                footprint(self._meta, shape, scale=scale).peak,
            )
        return self._counted[(scale, *shape)]

    @cached_property
    def _meta(self) -> torch.nn.Module:
        network: Any = on_meta(self.cascade)
        return halved(network, network.fine) if self.inferer.half else network

    def _measured(self, factors: Sequence[Sequence[int]], plans: Sequence[TilePlan], on_disk: bool) -> float:
        """Return the seconds that a tile of the finest scale takes; its voxels are zeros that take no memory."""
        if on_disk:
            set_up_malloc()
        plan, upsampling = plans[-1], factors[0] if factors else None
        images = [torch.zeros([1] * (2 + len(each.grid))).expand(1, 1, *each.grid) for each in plans[-2:]]
        generator = TileGenerator(self.cascade, len(plans) - 1, images[-1], images[0], upsampling, plan)
        tile = next(iter(plan))
        taken: list[float] = []
        with torch.no_grad(), in_bfloat16(self.device, self.inferer.half, strided=not factors):
            while sum(taken) < ENOUGH:
                begun = time.perf_counter()
                out: Tensor = generator(tile, generator.read(tile)).cpu()
                taken.append((time.perf_counter() - begun) / out.numel() * math.prod(plan.core))
        return sum(taken[-2:]) / len(taken[-2:])


def scratch_bytes(
    cascade: Any,
    factors: Sequence[Sequence[int]],
    plans: Sequence[TilePlan],
    slab: int,
    kept: bool,
    finished: int | None,
) -> int:
    """Return the most bytes that the voxels of an image and its scales take on disk at once.

    Args:
        cascade: the cascade that translates.
        factors: pooling factors of the pyramid, finest first.
        plans: tile plans of the scales, coarsest first.
        slab: slices per slab of the image.
        kept: whether the slabs are kept until the result is complete.
        finished: bytes per voxel of the result if its rows are finished as they are computed; null if all of it stays.
    """
    shape, top, sizes, pools = plans[-1].grid, len(plans) - 1, [0], 0
    plane = math.prod(shape[:-1])
    whole = 4 * plane * shape[-1] if kept else 0

    def image(start: int, stop: int) -> int:
        first = 0 if kept else start // slab * slab
        return 4 * plane * (min(-(-stop // slab) * slab, shape[-1]) - first)

    def layers(plan: TilePlan, start: int, stop: int) -> int:
        depth = plan.chunks[-1]
        number = -(-stop // depth) - max(start, 0) // depth
        return stored_bytes((*plan.grid[:-1], number * depth), plan.chunks)

    for scale in range(top - 1, -1, -1):
        factor = factors[top - 1 - scale]
        for row in rows(plans[scale]):
            source = image(*pooled(row, factor, shape[-1])) if scale == top - 1 else whole
            sizes.append(pools + source + layers(plans[scale], 0, written(row)[1]))
        pools += layers(plans[scale], 0, plans[scale].grid[-1])
    for scale, plan in enumerate(plans):
        for row in rows(plan):
            start, stop = written(row)
            source = image(*seen(row, plan, 0 if scale else cascade.reach[0][-1])) if scale == top else whole
            before = (
                layers(plans[scale - 1], upsampled(row, factors[-scale]), plans[scale - 1].grid[-1]) if scale else 0
            )
            done = finished * plane * stop if finished and scale == top else 0
            own = layers(plan, start if done else 0, stop)
            sizes.append(pools + source + before + own + done)
        pools -= layers(plan, 0, plan.grid[-1]) if scale < top else 0
    return max(sizes)
