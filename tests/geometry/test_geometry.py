import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.geometry import (
    coarser,
    count_tiles,
    cover,
    cover_strided,
    even,
    finer,
    halves,
    pyramid,
    shapes,
    strided_tiles,
    support,
    tiles,
)
from tests.laws import assert_covers_once

sizes = st.integers(1, 23)


@given(st.lists(st.tuples(sizes, st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=3))
def test_every_voxel_is_written_once(axes):
    shape, core, halo = zip(*axes, strict=True)
    parts = list(tiles(shape, core, halo))
    assert_covers_once(parts, shape)
    assert len(parts) == count_tiles(shape, core)


@given(sizes, st.integers(1, 30), st.integers(0, 9))
def test_what_is_kept_of_a_read_is_what_is_written(size, core, halo):
    for read, (before, _), keep, write in cover(size, core, halo):
        assert read.start - before + halo + keep.start == write.start


@given(sizes, st.integers(1, 30), st.integers(0, 9))
def test_all_reads_are_of_one_length_and_no_longer_than_asked_for(size, core, halo):
    lengths = {read.stop - read.start + sum(pad) for read, pad, _, _ in cover(size, core, halo)}
    assert len(lengths) == 1 and lengths.pop() <= min(core, size) + 2 * halo


def test_a_cover_one_can_see():
    assert list(cover(10, 4, 1)) == [
        (slice(0, 5), (1, 0), slice(0, 4), slice(0, 4)),
        (slice(3, 9), (0, 0), slice(0, 4), slice(4, 8)),
        (slice(5, 10), (0, 1), slice(2, 4), slice(8, 10)),
    ]


@given(
    st.lists(st.tuples(sizes, st.integers(2, 9), st.integers(0, 9)), min_size=1, max_size=3), st.sampled_from([1, 2, 4])
)
def test_strided_tiles_start_at_strides_and_read_no_padding(axes, step):
    shape, cores, halo = zip(*axes, strict=True)
    core = [number * step for number in cores]
    parts = list(strided_tiles(shape, core, halo, [step] * len(shape)))
    assert_covers_once(parts, shape)
    assert len(parts) == count_tiles(shape, core, [step] * len(shape))
    for tile in parts:
        assert tile.pad == ((0, 0),) * len(shape)
        for read, write, far, size in zip(tile.read, tile.write, halo, shape, strict=True):
            assert read.start % step == 0 and (read.stop % step == 0 or read.stop == size)
            assert read.start <= max(write.start - far, 0) and read.stop >= min(write.stop + far, size)


def test_a_strided_cover_one_can_see():
    assert list(cover_strided(10, 4, 1, 2)) == [
        (slice(0, 6), (0, 0), slice(0, 4), slice(0, 4)),
        (slice(2, 10), (0, 0), slice(2, 6), slice(4, 8)),
        (slice(6, 10), (0, 0), slice(2, 4), slice(8, 10)),
    ]


@given(sizes, st.integers(1, 8), st.integers(1, 5))
def test_cores_are_whole_steps_where_they_cut(size, number, step):
    length = even(size, number * step, step)
    assert length == size or (length % step == 0 and length <= number * step)
    assert -(-size // length) <= -(-size // (number * step))


def test_a_core_between_two_steps_says_which_to_take():
    with pytest.raises(ValueError, match="core 10 is not a multiple of 4; take 8 or 12"):
        even(50, 10, 4)


@given(st.lists(st.tuples(sizes, st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=3))
def test_halves_make_up_the_tile(axes):
    """And are read just as far as the halo goes; a tile of one voxel stays as it is."""
    shape, core, halo = zip(*axes, strict=True)
    split = [halves(tile, halo, shape) for tile in tiles(shape, core, halo)]
    assert_covers_once([part for parts in split for part in parts], shape)
    for parts in split:
        assert len(parts) == 2 or all(w.stop - w.start == 1 for w in parts[0].write)
        for part in parts if len(parts) == 2 else []:
            for read, (before, behind), write, far in zip(part.read, part.pad, part.write, halo, strict=True):
                assert read.start - before == write.start - far and read.stop + behind == write.stop + far


@pytest.mark.parametrize("size, core, halo", [(0, 1, 1), (4, 0, 1), (4, 1, -1)])
def test_impossible_covers_are_refused(size, core, halo):
    with pytest.raises(ValueError, match="at least"):
        list(cover(size, core, halo))


def test_thick_slices_are_not_pooled_away():
    assert pyramid([0.7, 0.7, 2.5], 3) == [[2, 2, 1], [2, 2, 1], [2, 2, 2]]
    assert pyramid([0.58, 0.58, 1.25], 3) == [[2, 2, 1], [2, 2, 2], [2, 2, 2]]
    assert pyramid([0.65, 0.65, 8.0], 3) == [[2, 2, 1]] * 3
    assert pyramid([1.0, 1.0], 2) == [[2, 2]] * 2
    assert pyramid([1.0, 1.4142135], 1) == [[2, 2]] != pyramid([1.0, 1.4142136], 1)  # to the root of 2


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=3), st.integers(0, 6))
def test_the_coarse_scales_tend_to_cubes(spacing, steps):
    sides = list(spacing)
    for step in pyramid(spacing, steps):
        spread = max(sides) / min(sides)
        assert set(step) <= {1, 2} and 2 in step
        sides = [side * factor for side, factor in zip(sides, step, strict=True)]
        assert max(sides) / min(sides) <= max(spread, 2)


@given(st.lists(sizes, min_size=2, max_size=3), st.integers(0, 4))
def test_scales_halve_and_keep_every_voxel(shape, steps):
    factors = pyramid([1.0] * len(shape), steps)
    grids = shapes(shape, factors)
    assert grids[-1] == tuple(shape) and len(grids) == steps + 1
    for coarse, fine, factor in zip(grids, grids[1:], factors[::-1], strict=False):
        assert coarse == coarser(fine, factor)
        whole = tuple(slice(0, size) for size in coarse)
        assert finer(whole, factor, fine) == tuple(slice(0, size) for size in fine)


@given(st.integers(0, 40), st.integers(1, 20), st.sampled_from([1, 2]))
def test_upsampling_finds_its_neighbours(start, length, factor):
    ((first, last),) = support((slice(start, start + length),), (factor,))
    for fine in range(start, start + length):
        centre = (fine + 0.5) / factor - 0.5
        assert first <= centre <= last - 1
