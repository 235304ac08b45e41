"""OME-Zarr's axes, units and transformations are followed, whatever their order; in memory and streamed."""

import numpy as np
import pytest

pytest.importorskip("zarr", minversion="3", reason="zarr 3 needs Python 3.11")

import zarr

from bundle.images import ImageError, create_image, files_of, held, ome_zarr, open_image
from bundle.images.reader import load_image
from bundle.runtime import fingerprint
from tests.images.ways import both_ways, through

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (9, 8, 7), dtype=np.int16)
PLACE = np.array([[0.8, 0, 0, 4], [0, 0.9, 0, -5], [0, 0, 2.5, 6], [0, 0, 0, 1]])


def test_an_array_of_zarr_alone_has_voxels_of_1_mm(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.ascontiguousarray(VOXELS.T))
    found = open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found.affine, np.eye(4))
    np.testing.assert_array_equal(found.whole(), VOXELS)


def written(path, names="zyx", own=(), of_all=None, units=None, dicts=True):
    """An image of one scale, its axes in an order, with the transformations of its scale and of all scales."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    more = [name for name in names if name not in "xyz"]
    stored = VOXELS.transpose(["xyz".index(name) for name in names if name in "xyz"])
    stored = stored.reshape((1,) * len(more) + stored.shape)
    order = [*more, *(name for name in names if name not in more)]
    stored = stored.transpose([order.index(name) for name in names])
    group.create_array("0", shape=stored.shape, dtype=stored.dtype)[...] = stored
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    for axis in axes:
        axis.update({"unit": units[axis["name"]]} if units and axis["name"] in units else {})
    scales = {"version": "0.4", "axes": axes if dicts else list(names)}
    scales["datasets"] = [{"path": "0", "coordinateTransformations": list(own)}]
    scales.update({"coordinateTransformations": of_all} if of_all else {})
    group.attrs["multiscales"] = [scales]
    return path


def steps(names, scale=None, translation=None):
    """Transformations, by the names of the axes."""
    found = [{"type": "scale", "scale": [scale.get(name, 1.0) for name in names]}] if scale else []
    return found + (
        [{"type": "translation", "translation": [translation.get(n, 0.0) for n in names]}] if translation else []
    )


SIZE, ORIGIN = {"x": 0.8, "y": 0.9, "z": 2.5}, {"x": 4, "y": -5, "z": 6}


@both_ways
@pytest.mark.parametrize("names", ["zyx", "xyz", "yzx", "tczyx", "cxyz", "xyzc"])
def test_axes_in_every_order(tmp_path, streaming, names):
    path = written(tmp_path / "a.ome.zarr", names, steps(names, SIZE, ORIGIN))
    image = open_image(path)
    assert image.shape == VOXELS.shape
    np.testing.assert_allclose(image.affine, PLACE)
    np.testing.assert_array_equal(image[2:5, 1:4, 3:7], VOXELS[2:5, 1:4, 3:7])
    made = open_image(through(path, tmp_path / "out", streaming))
    np.testing.assert_array_equal(made.whole(), VOXELS)
    np.testing.assert_allclose(made.affine, PLACE)


@pytest.mark.parametrize("unit", ["micrometer", "millimeter", "meter"])
@both_ways
def test_units_are_followed_and_kept(tmp_path, streaming, unit):
    factor = {"micrometer": 1000.0, "millimeter": 1.0, "meter": 0.001}[unit]
    own = steps("zyx", {key: factor * mm for key, mm in SIZE.items()}, {key: factor * mm for key, mm in ORIGIN.items()})
    path = written(tmp_path / "a.ome.zarr", own=own, units=dict.fromkeys("xyz", unit))
    np.testing.assert_allclose(load_image(path).affine, PLACE)
    group = zarr.open_group(str(through(path, tmp_path / "out", streaming)), mode="r")
    (about,) = group.attrs["ome"]["multiscales"]
    assert [axis["unit"] for axis in about["axes"]] == [unit] * 3
    finest = about["datasets"][0]["coordinateTransformations"]
    np.testing.assert_allclose(finest[0]["scale"], own[0]["scale"])
    np.testing.assert_allclose(finest[1]["translation"], own[1]["translation"])


def test_units_may_differ(tmp_path):
    size = {"x": 800, "y": 0.9, "z": 2.5}
    path = written(tmp_path / "a.zarr", own=steps("zyx", size), units={"x": "micrometer", "y": "millimeter"})
    assert open_image(path).spacing == pytest.approx((0.8, 0.9, 2.5))


@pytest.mark.parametrize(
    ("own", "of_all"),
    [
        ([], steps("zyx", SIZE, ORIGIN)),
        (steps("zyx", {"x": 1, "y": 1, "z": 1}), steps("zyx", SIZE, ORIGIN)),
        (steps("zyx", {"x": 2, "y": 3, "z": 5}), steps("zyx", {"x": 0.4, "y": 0.3, "z": 0.5}, ORIGIN)),
        (steps("zyx", SIZE, {"x": 2, "y": 0, "z": 0}), steps("zyx", None, {"x": 2, "y": -5, "z": 6})),
        (steps("zyx", SIZE, {"x": 2, "y": -2.5, "z": 3}), [{"type": "scale", "scale": [2, 2, 2]}]),
        ([{"type": "identity"}, *steps("zyx", SIZE, ORIGIN)], None),
    ],
)
def test_transformations_of_both_levels_count(tmp_path, own, of_all):
    """Those of the scale first, then those of all scales."""
    expected = PLACE.copy()
    if of_all and of_all[0].get("scale") == [2, 2, 2]:
        expected[:3, :3] *= 2
    np.testing.assert_allclose(open_image(written(tmp_path / "a.zarr", own=own, of_all=of_all)).affine, expected)


def test_names_without_types_as_older_versions_have_them(tmp_path):
    path = written(tmp_path / "a.zarr", "tczyx", steps("tczyx", SIZE, ORIGIN), dicts=False)
    np.testing.assert_allclose(open_image(path).affine, PLACE)


@pytest.mark.parametrize(
    ("own", "rule"),
    [
        ([{"type": "rotation", "rotation": [[1]]}], "coordinate transformation .*rotation"),
        ([{"type": "scale", "scale": [1, 2]}], "a scale or a translation of 3 numbers"),
        ([{"type": "scale", "path": "elsewhere"}], "a scale or a translation"),
        ([{"type": "scale", "scale": [0, 1, 1]}], "voxel size that is not above zero"),
    ],
)
def test_other_transformations_are_told(tmp_path, own, rule):
    with pytest.raises(ImageError, match=rf"a\.zarr' has a .*{rule}" if "voxel" not in rule else rule):
        open_image(written(tmp_path / "a.zarr", own=own))


def test_other_axes_are_told(tmp_path):
    path = written(tmp_path / "a.zarr")
    group = zarr.open_group(str(path), mode="r+")
    scales = group.attrs["multiscales"]
    scales[0]["axes"] = [{"name": name} for name in "abc"]
    group.attrs["multiscales"] = scales
    with pytest.raises(ImageError, match="names the axes a, b, c for an array of 3"):
        open_image(path)


def test_coarser_scales_are_means_of_the_result(tmp_path):
    """One can see it: blocks of two, where the voxels are of one size."""
    voxels = np.array([[[1, 3]], [[5, 9]]], np.int16)  # x, y, z
    with create_image(tmp_path / "a.ome.zarr", held(voxels, np.diag([1, 4, 1, 1])), np.int16) as write:
        write((slice(0, 2), slice(0, 1), slice(0, 2)), voxels)
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="r")
    assert group["0"][...].tolist() == [[[1, 5]], [[3, 9]]]
    assert group["1"][...].tolist() == [[[4]]]  # 4.5, rounded to even


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_written_one_can_see(tmp_path, dims):
    """Four scales, halved along the axes of the finer spacing; each tells where its first voxel's centre lies."""
    shape, affine = (130, 70, 5)[:dims], np.diag([0.5, 0.5, 2.0, 1.0])
    affine[:3, 3] = 10, 20, 30 if dims == 3 else 0
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    with create_image(tmp_path / "a.ome.zarr", held(voxels, affine), np.float32) as write:
        write(tuple(slice(0, side) for side in shape), voxels)
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="r")
    told = group.attrs["ome"]
    (scales,) = told["multiscales"]
    assert told["version"] == "0.5" and group.attrs["affine"] == affine.tolist()
    unit = {"type": "space", "unit": "millimeter"}
    assert scales["axes"] == [{"name": name, **unit} for name in "zyx"[-dims:]]
    assert [one["path"] for one in scales["datasets"]] == ["0", "1", "2", "3"]
    shapes = [group[str(level)].shape[::-1] for level in range(4)]
    assert shapes == [side[:dims] for side in ((130, 70, 5), (65, 35, 5), (33, 18, 5), (17, 9, 3))]
    assert group["0"].chunks[::-1] == (64, 64, 5)[:dims] and group["0"].metadata.dimension_names == tuple("zyx"[-dims:])
    found = [[step[step["type"]][::-1] for step in one["coordinateTransformations"]] for one in scales["datasets"]]
    sizes = [(0.5, 0.5, 2), (1, 1, 2), (2, 2, 2), (4, 4, 4)]
    places = [(10, 20, 30), (10.25, 20.25, 30), (10.75, 20.75, 30), (11.75, 21.75, 31)]
    assert found == [[list(size[:dims]), list(place[:dims])] for size, place in zip(sizes, places, strict=True)]
    np.testing.assert_allclose(group["1"][...].T, voxels.reshape(65, 2, 35, 2, -1).mean((1, 3)).reshape(shapes[1]))


def test_an_empty_folder_is_replaced_and_one_of_something_else_is_not(tmp_path):
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    for _ in range(2):
        with create_image(path, held(VOXELS, PLACE), np.int16) as write:
            write((slice(0, 9), slice(0, 8), slice(0, 7)), VOXELS)
        np.testing.assert_array_equal(open_image(path).whole(), VOXELS)
    (tmp_path / "b.ome.zarr").mkdir()
    (tmp_path / "b.ome.zarr" / "thesis.txt").touch()
    with (
        pytest.raises(FileExistsError, match=r"b\.ome\.zarr' is not of zarr; move it away"),
        create_image(tmp_path / "b.ome.zarr", held(VOXELS, PLACE), np.int16),
    ):
        pass


def test_voxels_that_are_changed_in_place_are_seen(tmp_path):
    path = tmp_path / "a.ome.zarr"
    with create_image(path, held(np.zeros((8, 6, 9), np.int16), np.eye(4)), np.int16) as write:
        write((slice(0, 8), slice(0, 6), slice(0, 9)), np.ones((8, 6, 9), np.int16))
    before = fingerprint(path, files_of(path))
    assert fingerprint(path, files_of(path)) == before
    zarr.open_group(str(path))["0"][:] = 2
    assert fingerprint(path, files_of(path)) != before


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((50, 40, 30), (50, 40, 30)),
        ((512, 512, 200), (64, 64, 32)),
        ((2048, 2048, 2048), (256, 256, 2)),
        ((8192, 8192, 70), (512, 512, 1)),
        ((3000, 2000), (64, 64)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_a_layer_of_chunks_takes_little_memory(shape, chunk):
    assert ome_zarr._chunks(shape) == chunk


def test_each_chunk_is_written_once(tmp_path, monkeypatch):
    """Slabs that do not meet the chunks are collected: a chunk written in parts would be packed anew for each."""
    monkeypatch.setattr(ome_zarr, "CHUNK", 8)
    voxels, depths = np.random.default_rng(0).integers(-1000, 1000, (20, 10, 29), dtype=np.int16), []
    real = zarr.Array.__setitem__

    def watched(self, window, values):
        if self.shape == (29, 10, 20):
            depths.append((window.start, window.stop))
        return real(self, window, values)

    monkeypatch.setattr(zarr.Array, "__setitem__", watched)
    with create_image(tmp_path / "a.ome.zarr", held(voxels, np.eye(4)), np.int16) as write:
        for start in range(0, 29, 3):
            stop = min(start + 3, 29)
            write((slice(0, 20), slice(0, 10), slice(start, stop)), voxels[..., start:stop])
    assert depths == [(0, 8), (8, 16), (16, 24), (24, 29)]
    np.testing.assert_array_equal(open_image(tmp_path / "a.ome.zarr").whole(), voxels)


def test_scales_are_pooled_in_slabs(tmp_path, monkeypatch):
    voxels = np.random.default_rng(0).integers(-1000, 1000, (8, 6, 9), dtype=np.int16)
    groups = []
    for name, block in (("whole", "32MiB"), ("slabs", "400B")):
        monkeypatch.setattr("bundle.images.ome_zarr.BLOCK", block)
        with create_image(tmp_path / f"{name}.ome.zarr", held(voxels, np.eye(4)), np.int16) as write:
            write((slice(0, 8), slice(0, 6), slice(0, 9)), voxels)
        groups.append(zarr.open_group(str(tmp_path / f"{name}.ome.zarr"), mode="r"))
    for level in "0123":
        np.testing.assert_array_equal(groups[0][level][...], groups[1][level][...])


@pytest.mark.parametrize("name", ["", "/0", "0/", "a//b", ".", "../other", "a/../0", "..\\0", "C:0", 0, None])
def test_a_scale_outside_of_the_group_is_refused(tmp_path, name):
    path = written(tmp_path / "a.ome.zarr")
    group = zarr.open_group(str(path), mode="r+")
    scales = group.attrs["multiscales"]
    scales[0]["datasets"][0]["path"] = name
    group.attrs["multiscales"] = scales
    with pytest.raises(ImageError, match="is not that of an array in the group"):
        open_image(path)
