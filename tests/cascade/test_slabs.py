"""What is made again rather than kept, and removed as soon as it was read: the numbers stay, whatever a run leaves."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")

from bundle.cascade import CascadeInferer, ScratchImage, SlabFiles, open_group, rows
from bundle.geometry import region, tiles
from tests.cascade.test_scratch import drawn_case
from tests.laws import TOLERANCE, image, tiny_cascade


def on_disk(voxels, folder, depth=4, kept=False, finisher=None):
    """A tensor `(1, 1, *spatial)` as an image in slabs, and the slabs that were made."""
    group, shape, made = open_group(folder, {}), voxels.shape[2:], []

    def read(part):
        made.append(part[0])
        return voxels[0, 0, ..., part[0] : part[1]].numpy()

    slabs = SlabFiles(group / "image", shape, range(0, shape[-1], depth), read, np.asarray, kept)
    out = ScratchImage(group, "image", torch.eye(voxels.ndim - 1), slabs)
    out.finisher = finisher
    return out, made


class Rows:
    """Takes the rows of a result, as `bundle.transforms.FinishImaged` does."""

    def __init__(self, shape):
        self.result, self.done = torch.full(shape, torch.nan), set()

    def is_finished(self, _, start, stop):
        return set(range(start, stop)) <= self.done

    def finish(self, result, start, stop):
        assert not self.done & set(range(start, stop))
        window = (*(slice(0, side) for side in result.shape[2:-1]), slice(start, stop))
        self.result[region(window)] = result[region(window)]
        self.done |= set(range(start, stop))


def names(picture):
    """Folders of the group, without those that are empty but for their headers."""
    return {file.relative_to(picture.folder).parts[0] for file in picture.folder.glob("*/**/*") if file.is_file()}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_window_is_that_of_the_tensor(tmp_path_factory, data):
    """Whether its slabs are there or not."""
    shape = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    voxels = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape)
    kept, made = on_disk(voxels, tmp_path_factory.mktemp("scratch"), data.draw(st.integers(1, 9)))
    for _ in range(3):
        starts = [data.draw(st.integers(0, side - 1)) for side in shape]
        window = [slice(a, data.draw(st.integers(a + 1, side))) for a, side in zip(starts, shape, strict=True)]
        assert torch.equal(kept[region(tuple(window))], voxels[region(tuple(window))])
    assert len(made) == len(set(made))


def test_slabs_are_made_once_and_again_after_they_were_forgotten(tmp_path):
    kept, made = on_disk(torch.ones(1, 1, 3, 10), tmp_path)
    kept.fill(3, 5)
    kept.fill(0, 10)
    assert made == [0, 4, 8]
    kept.forget(9)
    kept.fill(0, 10)
    assert made == [0, 4, 8, 0, 4]
    kept.slabs.kept = True
    kept.forget(10)
    assert all(map(kept.slabs.holds, (0, 4, 8)))
    kept.forget()
    assert not any(map(kept.slabs.holds, (0, 4, 8)))


def test_a_slab_that_nothing_can_make_is_missed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"4\.npy"):
        SlabFiles(tmp_path, (3, 8), [0, 4])[slice(0, 3), slice(5, 6)]


def test_half_a_slab_is_none(tmp_path):
    """Killed while it was written: it has no name yet."""
    kept, made = on_disk(torch.ones(1, 1, 3, 4), tmp_path)
    kept.slabs.folder.mkdir()
    (kept.slabs.folder / "0.0.part").write_bytes(b"\x93NUMPY")
    assert float(kept[..., slice(0, 3), slice(0, 4)].sum()) == 12 and made == [0]


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_streamed_in_rows_is_in_memory(tmp_path_factory, data):
    """For drawn shapes, tiles and slabs; nothing of what was read is left, and each row is finished once."""
    dims, shape, tile = drawn_case(data, {2: 90, 3: 24})
    depth = data.draw(st.integers(1, 9), label="depth")
    kept, least = data.draw(st.booleans(), label="kept"), data.draw(st.sampled_from([1, 8]), label="row")
    torch.manual_seed(0)
    cascade, x = tiny_cascade(dims), image(shape)
    inferer, finisher = CascadeInferer(tile, progress=False), Rows(x.shape)
    scan, made = on_disk(x, tmp_path_factory.mktemp("scratch"), depth, kept, finisher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "ROW", least)
        result = inferer(scan, cascade)
    assert (finisher.result - inferer(x, cascade)).abs().max() <= TOLERANCE
    assert len(made) == len(range(0, shape[-1], depth)) * (1 if kept else 2)
    assert names(result) == {"result_2"}  # its headers
    assert not [file for file in result.folder.glob("result_2/c/**/*") if file.is_file()]


def test_slabs_that_no_later_row_reads_are_removed_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROW", 1)
    scan, made = on_disk(image((20, 200)), tmp_path)
    write, held = rows.write_tile, []

    def watching(*given):
        held.append(sum(map(scan.slabs.holds, range(0, 200, 4))))
        write(*given)

    monkeypatch.setattr(rows, "write_tile", watching)
    CascadeInferer(16, progress=False)(scan, tiny_cascade(2))
    assert len(set(made)) == 50 and 0 < max(held) < 20


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_that_is_killed_anywhere_goes_on(tmp_path, monkeypatch, finished):
    """Before each tile and row in turn, every time by one more; the result is that of a run in one go."""
    monkeypatch.setattr(rows, "ROW", 1)
    torch.manual_seed(0)
    cascade, x = tiny_cascade(2), image((40, 50))
    inferer, write = CascadeInferer(16, progress=False), rows.write_tile
    whole, total = inferer(x, cascade), 0
    finisher = Rows(x.shape) if finished else None
    for run in count():
        left = iter(range(run + 1))

        def dying(*given, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            write(*given)

        monkeypatch.setattr(rows, "write_tile", dying)
        scan, _ = on_disk(x, tmp_path, finisher=finisher)
        try:
            result = inferer(scan, cascade)
            break
        except KeyboardInterrupt:
            total += run + 1
    total += run + 1 - len(list(left))
    made = finisher.result if finished else result[region((slice(0, 40), slice(0, 50)))]
    assert (made - whole).abs().max() <= TOLERANCE
    assert run > 4 and total == 4 + 1 + 1 + 4 + 12  # tiles of two pooled images, and of three results
    monkeypatch.setattr(rows, "write_tile", None)
    inferer(on_disk(x, tmp_path, finisher=finisher)[0], cascade)  # nothing is left to make


def test_what_surrounds_the_networks_is_computed_in_float32(tmp_path):
    """Though the networks are not, and it is computed between their tiles."""
    torch.manual_seed(0)
    cascade, x, products = tiny_cascade(2), image((40, 50)), []

    class Product(Rows):
        def finish(self, *given):
            products.append(torch.ones(2, 2) @ torch.ones(2, 2))
            super().finish(*given)

    scan, _ = on_disk(x, tmp_path, finisher=Product(x.shape))
    show = scan.slabs._show
    scan.slabs._show = lambda part: (products.append(torch.ones(2, 2) @ torch.ones(2, 2)), show(part))[1]
    CascadeInferer(16, progress=False, half=True)(scan, cascade)
    assert len(products) > 20 and {product.dtype for product in products} == {torch.float32}


def test_other_tiles_start_over(tmp_path, monkeypatch):
    """What one way of cutting has removed, another may need."""
    monkeypatch.setattr(rows, "ROW", 1)
    torch.manual_seed(0)
    cascade, x = tiny_cascade(2), image((40, 50))
    write, finest = rows.write_tile, []

    def dying(out, tile, voxels):
        if out.name == "result_2":
            if len(finest) == 7:
                raise KeyboardInterrupt
            finest.append(tile)
        write(out, tile, voxels)

    monkeypatch.setattr(rows, "write_tile", dying)
    with pytest.raises(KeyboardInterrupt):
        CascadeInferer(16, progress=False)(on_disk(x, tmp_path)[0], cascade)
    monkeypatch.setattr(rows, "write_tile", write)
    result = CascadeInferer(12, progress=False)(on_disk(x, tmp_path)[0], cascade)
    whole = CascadeInferer(12, progress=False)(x, cascade)
    assert (result[region((slice(0, 40), slice(0, 50)))] - whole).abs().max() <= TOLERANCE


def test_a_row_is_tiles_that_begin_alike_or_more(monkeypatch):
    plan = list(tiles((8, 9), (4, 3), (1, 1)))
    monkeypatch.setattr(rows, "ROW", 2)
    found = [[tile.write[1].start for tile in row] for row in rows.rows(plan)]
    assert found == [[0, 0], [3, 3], [6, 6]]
    monkeypatch.setattr(rows, "ROW", 3)
    assert [len(row) for row in rows.rows(plan)] == [4, 2]
    assert sorted(map(str, (tile for row in rows.rows(plan) for tile in row))) == sorted(map(str, plan))
