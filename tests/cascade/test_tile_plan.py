"""Tiles that are chosen: within budget and tensor, of little halo."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import UNet

from bundle.cascade import Cascade, CascadeInferer, ResNetGenerator, Sketch, footprint, on_meta, plan_tiles
from bundle.cascade.memory import Footprint
from bundle.cascade.tile_plan import PLANNED, _choose_core, _first_that_fits, _smaller_and_smaller

GRIDS = [(48, 48, 48), (96, 96, 96)]


def cascade(kernel=(3, 3, 3), blocks=3):
    coarse = UNet(3, 2, 1, (4, 8), (2,), norm=None)
    return Cascade(3, coarse, [ResNetGenerator(3, 3, channels=4, blocks=blocks, kernel_size=kernel)], Sketch(3))


def bytes_of(network, plan):
    read = [side + 2 * far for side, far in zip(plan.core, plan.halo, strict=True)]
    return footprint(on_meta(network), (1, 2, *read), scale=1)


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("budget", [60_000_000, 300_000_000])
def test_a_tile_is_within_the_budget_and_hardly_smaller(budget, on_disk):
    network = cascade()
    plan = plan_tiles(network, GRIDS, 1, None, budget, on_disk)[1]
    assert 0.3 * budget < bytes_of(network, plan).peak / PLANNED <= budget


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 3, 1)])
def test_no_tensor_of_features_is_larger_than_asked(kernel):
    network = cascade(kernel)
    plan = plan_tiles(network, GRIDS, 1, None, 2**40, False, features=2**19)[1]
    assert 2**17 < bytes_of(network, plan).features <= 2**19
    assert bytes_of(network, plan).largest <= 2**21


def test_no_tensor_of_a_tile_is_larger_than_asked():
    network = cascade()
    plan = plan_tiles(network, GRIDS, 1, None, 2**40, False, largest=2**20)[1]
    assert 2**18 < bytes_of(network, plan).largest <= 2**20
    assert plan_tiles(network, GRIDS, 1, None, 2**40, False)[1].core == GRIDS[1]


@pytest.mark.parametrize(("half", "most"), [(False, 2**25), (True, 2**26)])
def test_on_a_cpu_no_features_are_larger_than_malloc_keeps(half, most):
    """32 MiB, of two or four bytes a number; counted in four."""
    network = cascade()
    _, plans = CascadeInferer(None, 2**40, half=half).plan(network, (300, 300, 300), [1.0] * 3, False)
    assert most / 2 < bytes_of(network, plans[-1]).features <= most


def test_the_smallest_tile_may_take_more_than_asked():
    assert plan_tiles(cascade(), GRIDS, 1, None, 2**40, False, largest=1)[1].core == (1, 1, 1)


def test_tiles_are_choose_core_once_for_a_network_and_a_shape():
    network, other = cascade(), cascade((3, 3, 1), 6)
    asked = (GRIDS, 1, None, 10**8, False)
    first = plan_tiles(network, *asked)
    before = _choose_core.cache_info()
    assert plan_tiles(network, *asked) == first
    assert _choose_core.cache_info().misses == before.misses and _choose_core.cache_info().hits == before.hits + 2
    assert plan_tiles(other, *asked) != first == plan_tiles(torch.jit.script(network), *asked)


@pytest.mark.parametrize("budget", [2.0**20, 2.0**24, 2.0**28, 2.0**40])
def test_the_tile_is_the_first_that_fits(budget):
    inputs = [(1, 2, side, side, side) for side in range(200, 9, -1)]

    def count(shape):
        return Footprint(40 * math.prod(shape) + 10_000_000, 4 * math.prod(shape), 2 * math.prod(shape))

    best = _first_that_fits(inputs, count, budget, math.inf, math.inf)
    assert best == next((i for i, shape in enumerate(inputs) if count(shape).peak <= budget), len(inputs))


def test_networks_that_work_in_the_slice_get_flat_tiles():
    networks = cascade((3, 3, 3), 6), cascade((3, 3, 1), 6)
    round_, flat = (plan_tiles(network, GRIDS, 1, None, 5 * 10**7, False)[1].core for network in networks)
    assert max(round_) <= 2 * min(round_)
    assert flat[2] < min(flat[:2])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_cutting_once_more_makes_tiles_smaller_down_to_one_grain(data):
    grid = tuple(data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=3)))
    halo = tuple(data.draw(st.integers(0, 40)) for _ in grid)
    grain = data.draw(st.sampled_from([1, 2, 8]))
    cores = list(_smaller_and_smaller(grid, lambda shortest: -(-shortest // grain) * grain, ((1, halo),)))
    assert cores[0] == grid
    assert cores[-1] == tuple(min(grain, size) for size in grid)
    assert all(math.prod(a) > math.prod(b) for a, b in pairwise(cores))


@pytest.mark.parametrize(
    ("on_disk", "tile_size", "core", "step", "chunks", "tiles"),
    [
        (False, 97, (97, 97, 60), (1, 1, 1), (75, 87, 60), 12),
        (True, 97, (96, 96, 60), (2, 2, 2), (76, 88, 60), 12),  # of two chunks a side
        (True, 203, (200, 200, 60), (4, 4, 4), (51, 66, 60), 4),
        (True, [97, 147, 7], (96, 147, 7), (2, 3, 1), (76, 66, 7), 72),
        (True, 261, (260, 261, 60), (4, 4, 4), (51, 66, 60), 2),  # a side as long as the image stays whole
    ],
)
def test_a_plan_one_can_see(on_disk, tile_size, core, step, chunks, tiles):
    coarse, fine = plan_tiles(cascade(), [(150, 131, 30), (300, 261, 60)], 1, tile_size, 0, on_disk)
    assert (fine.core, fine.halo, fine.step, fine.chunks, len(fine)) == (core, (14, 14, 14), step, chunks, tiles)
    assert not fine.strided and len(list(fine)) == tiles
    # the network of scale 0 has a stride of 2, and reaches 4 voxels
    assert coarse.strided and (coarse.halo, coarse.step) == ((4, 4, 4), (2, 2, 2))
    assert all(side % 2 == 0 or side == size for side, size in zip(coarse.core, coarse.grid, strict=True))
    # its tiles are a chunk each
    assert math.prod(-(-a // b) for a, b in zip(coarse.grid, coarse.chunks, strict=True)) == len(coarse)


def test_each_cut_is_along_the_axis_that_adds_the_least_halo():
    assert list(_smaller_and_smaller((8, 8), lambda side: -(-side // 2) * 2, ((1, (1, 3)),))) == [
        (8, 8),
        (4, 8),  # all tiles read 2 * 6 * 14 voxels, and 2 * 10 * 10 if cut the other way
        (2, 8),
        (2, 4),
        (2, 2),
    ]
    flat = _smaller_and_smaller((100, 100), lambda side: side, ((1, (10, 0)),))
    assert list(flat)[1:4] == [(100, 50), (100, 34), (100, 25)]
    # what takes longer counts for more: a sketch that looks along the one axis, a network that looks along the other
    for weight, second in ((1, (100, 50)), (8, (50, 100))):
        sketch, network = (1, (10, 0)), (weight, (0, 5))
        assert list(_smaller_and_smaller((100, 100), lambda side: side, (sketch, network)))[1] == second


@pytest.mark.parametrize(("scales", "core"), [(1, (2, 2, 2)), (2, (1, 1, 1))])
def test_what_the_smallest_tile_needs_is_enough(scales, core):
    def needed(budget):
        with pytest.raises(ValueError, match=f"memory_budget {budget} bytes is less than the .* give more") as error:
            plan_tiles(network, GRIDS[:scales], 1, None, budget, False)
        return int(str(error.value).split("less than the ")[1].split()[0])

    network, budget = cascade(), 1000
    for _ in range(scales):  # scale 0 is told first
        budget = needed(budget)
    assert needed(budget - 1) == budget
    assert plan_tiles(network, GRIDS[:scales], 1, None, budget, False)[-1].core == core
