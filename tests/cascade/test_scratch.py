"""Images on disk behave like tensors, and tell what is written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")

from bundle.cascade import CascadeInferer, ScratchImage, create_array, open_group, pending_tiles
from bundle.cascade.scratch import chunks_per_side
from bundle.geometry import region, tiles
from tests.laws import TOLERANCE, image, tiny_cascade


def on_disk(voxels, folder, job=None, affine=None):
    """A tensor `(1, 1, *spatial)` as a scratch image."""
    group = open_group(folder, job or {})
    create_array(group, "image", voxels.shape[2:], [max(side // 3, 1) for side in voxels.shape[2:]])
    out = ScratchImage(group, "image", torch.eye(voxels.ndim - 1) if affine is None else affine)
    out[region(tuple(slice(0, side) for side in voxels.shape[2:]))] = voxels
    return out


def all_of(picture):
    return picture[region(tuple(slice(0, side) for side in picture.shape[2:]))]


def test_a_window_is_that_of_the_tensor(tmp_path, spatial_dims):
    voxels = torch.randn(1, 1, *(11, 7, 5)[:spatial_dims])
    kept = on_disk(voxels, tmp_path)
    window = region((slice(2, 9), slice(0, 3), slice(4, 5))[:spatial_dims])
    assert kept.shape == voxels.shape
    assert torch.equal(kept[window], voxels[window])
    assert torch.equal(all_of(kept), voxels)


def test_a_tile_is_known_to_be_written_by_its_chunks(tmp_path):
    """Zeros as well, which zarr would leave out."""
    kept = on_disk(torch.zeros(1, 1, 4, 4), tmp_path).sibling("result", (8, 8), (2, 2))
    plan = list(tiles((8, 8), (4, 4), (0, 0)))
    assert list(pending_tiles(kept, plan)) == plan
    kept[region(plan[2].write)] = torch.zeros(1, 1, 4, 4)
    assert list(pending_tiles(kept, plan)) == [plan[0], plan[1], plan[3]]


def test_the_group_of_another_job_is_removed(tmp_path):
    kept = on_disk(torch.ones(1, 1, 4, 4), tmp_path / "a", {"weights": 1})
    open_group(tmp_path / "a", {"weights": 1})
    assert (tmp_path / "a" / "image").exists()
    open_group(tmp_path / "a", {"weights": 2})
    assert not (tmp_path / "a" / "image").exists()
    assert kept.name == "image"


@pytest.mark.parametrize("left", ["nothing", "empty", "half"])
def test_an_array_that_a_killed_process_has_left_half_is_made_anew(tmp_path, left):
    """Killed between making its folder and its header, or in removing it; `benchmarks/soak.py` found that."""
    create_array(tmp_path, "image", (8, 8), (4, 4))
    ScratchImage(tmp_path, "image", torch.eye(4))[..., :4, :4] = torch.ones(1, 1, 4, 4)
    header = tmp_path / "image" / "zarr.json"
    if left == "nothing":
        header.unlink()
    else:
        header.write_text(header.read_text()[: 0 if left == "empty" else 99])
    create_array(tmp_path, "image", (8, 8), (4, 4))
    assert not ScratchImage(tmp_path, "image", torch.eye(4)).is_written((slice(0, 4), slice(0, 4)))


def test_an_array_of_other_chunks_is_made_anew(tmp_path):
    kept = on_disk(torch.ones(1, 1, 8, 8), tmp_path)
    first = kept.sibling("result", (8, 8), (4, 4))
    first[region((slice(0, 8), slice(0, 8)))] = torch.ones(1, 1, 8, 8)
    assert float(all_of(kept.sibling("result", (8, 8), (4, 4))).sum()) == 64
    assert all_of(kept.sibling("result", (8, 8), (2, 2))).isnan().all()  # not zeros, which a result may hold


def drawn_case(data, longest):
    """Dimensions, a shape and a tile's side; no side is longer than that of its dimensions."""
    dims = data.draw(st.sampled_from([*longest]), label="dims")
    shape = data.draw(st.lists(st.integers(3, longest[dims]), min_size=dims, max_size=dims), label="shape")
    return dims, shape, data.draw(st.integers(5, longest[dims]), label="tile")


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_streamed_is_in_memory(tmp_path_factory, data):
    """For drawn shapes and tiles, in two and three dimensions: the same numbers, whatever lies on disk."""
    dims, shape, tile = drawn_case(data, {2: 150, 3: 40})
    torch.manual_seed(0)
    cascade, x = tiny_cascade(dims), image(shape)
    inferer = CascadeInferer(tile, progress=False)
    streamed = all_of(inferer(on_disk(x, tmp_path_factory.mktemp("scratch")), cascade))
    assert (streamed - inferer(x, cascade)).abs().max() <= TOLERANCE


def test_large_tiles_are_cut_into_chunks(tmp_path):
    """So that a halo does not read its neighbours whole; and the numbers stay."""
    cascade, x = tiny_cascade(2), image((420, 300))
    inferer = CascadeInferer(200, progress=False)
    result = inferer(on_disk(x, tmp_path), cascade)
    assert chunks_per_side(200) == 4
    assert (all_of(result) - inferer(x, cascade)).abs().max() <= TOLERANCE


def test_an_interrupted_run_resumes(tmp_path, monkeypatch):
    """What was made before is not made again, and the result is that of an uninterrupted run."""
    cascade, x = tiny_cascade(2), image((60, 60))
    whole, made = CascadeInferer(16, progress=False)(x, cascade), []
    translate = type(cascade).forward

    def dying(self, conditions, scale=-1, spacing=None):
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(scale)
        return translate(self, conditions, scale, spacing)

    monkeypatch.setattr(type(cascade), "forward", dying)
    with pytest.raises(KeyboardInterrupt):
        CascadeInferer(16, progress=False)(on_disk(x, tmp_path), cascade)
    first = len(made)
    made.clear()
    monkeypatch.setattr(type(cascade), "forward", lambda *args: (made.append(args[2]), translate(*args))[1])
    result = CascadeInferer(16, progress=False)(on_disk(x, tmp_path), cascade)
    assert first + len(made) == 1 + 4 + 16
    assert (all_of(result) - whole).abs().max() <= TOLERANCE
