"""An image goes to disk if it would take too much of the memory, and only then."""

import importlib.util
import math

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Orientationd
from PIL import Image

from bundle.cascade import ScratchImage
from bundle.images import ImageError, open_image
from bundle.runtime import free_memory, noted, warn
from bundle.transforms import KernelChoice, LoadImageOrSeriesd, PrepareImaged, collate, prepare
from bundle.transforms.prepare import SHARE, VOXEL
from tests.dicom_series import write_series

HAS_ZARR = importlib.util.find_spec("zarr") is not None
SHAPE = (9, 8, 7)
#: Bytes that the image takes in memory.
NEEDED = VOXEL * math.prod(SHAPE)


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.nii"
    nibabel.Nifti1Image(np.arange(504, dtype=np.int16).reshape(SHAPE), np.diag([-1.0, 1, 1, 1])).to_filename(path)
    return path


def preparing(folder, **keys):
    loading = LoadImageOrSeriesd("image", ensure_channel_first=True)
    return PrepareImaged("image", Compose([loading, Orientationd("image", "RAS", labels=None)]), folder=folder, **keys)


@pytest.mark.skipif(not HAS_ZARR, reason="zarr 3 needs Python 3.11")
@pytest.mark.parametrize("more", [0, 1])
def test_the_free_memory_decides(tmp_path, scan, monkeypatch, more):
    """More than a quarter of it goes to disk; both are the same image."""
    monkeypatch.setattr(prepare, "free_memory", lambda: SHARE * VOXEL * math.prod(SHAPE) - more)
    image = preparing(tmp_path / "out")({"image": str(scan)})["image"]
    assert isinstance(image, ScratchImage) == bool(more)
    voxels = image[..., slice(0, 9), slice(0, 8), slice(0, 7)][0] if more else image.as_tensor()
    assert torch.equal(voxels[0], torch.arange(504.0).reshape(SHAPE).flip(0))


def test_true_and_false_force_it(tmp_path, scan, monkeypatch):
    monkeypatch.setattr(prepare, "free_memory", lambda: NEEDED)
    assert torch.is_tensor(preparing(tmp_path / "out", streaming=False)({"image": str(scan)})["image"])
    if HAS_ZARR:
        monkeypatch.setattr(prepare, "free_memory", lambda: 10**15)
        image = preparing(tmp_path / "out", streaming=True)({"image": str(scan)})["image"]
        assert isinstance(image, ScratchImage) and collate([{"image": image}])["image"] is image


def test_what_needs_the_whole_image_stays_in_memory_or_is_refused(tmp_path, scan, monkeypatch):
    monkeypatch.setattr(prepare, "free_memory", lambda: NEEDED)
    assert torch.is_tensor(preparing(tmp_path / "out", whole="crop_lungs")({"image": str(scan)})["image"])
    with pytest.raises(ValueError, match="streaming cannot be combined with percentiles, which needs"):
        preparing(tmp_path / "out", whole="percentiles", streaming=True)


def test_a_kernel_that_nothing_would_match_is_refused(tmp_path):
    choice = KernelChoice(target_kernel="B30f")
    with pytest.raises(ValueError, match="target_kernel 'B30f' has no effect as match_kernel is False here; leave it"):
        preparing(tmp_path / "out", choice=choice)
    preparing(tmp_path / "out", choice=choice, match_kernel=True)
    preparing(tmp_path / "out", choice=KernelChoice())


def test_a_warning_names_its_image_and_is_noted_without(tmp_path, scan):
    prepare_one = PrepareImaged("image", lambda data: warn("its kernel is odd.") or data, folder=tmp_path / "out")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^image '.*scan\.nii': its kernel is odd\.$"):
            prepare_one({"image": str(scan)})
        assert noted()["warnings"] == ["its kernel is odd."]


def test_what_memory_does_not_hold_is_refused(tmp_path, scan, monkeypatch):
    monkeypatch.setattr(prepare, "free_memory", lambda: NEEDED - 1)
    for keys, way_out in (({"streaming": False}, "set streaming"), ({"whole": "crop_lungs"}, "leave out crop_lungs")):
        with pytest.raises(ValueError, match=rf"scan\.nii' .*takes {NEEDED} bytes of memory.* {way_out}"):
            preparing(tmp_path / "out", **keys)({"image": str(scan)})


def test_without_zarr_images_stay_in_memory(tmp_path, scan, monkeypatch):
    """As on Python 3.10; asked for, streaming is refused in one line."""
    monkeypatch.setattr(prepare, "free_memory", lambda: NEEDED)
    monkeypatch.setattr(prepare, "zarr", None)
    monkeypatch.setattr("bundle.cascade.scratch.zarr", None)
    assert torch.is_tensor(preparing(tmp_path / "out")({"image": str(scan)})["image"])
    with pytest.raises(RuntimeError, match=r"streaming needs zarr 3, which needs Python 3\.11"):
        preparing(tmp_path / "out", streaming=True)({"image": str(scan)})


def test_an_image_that_is_open_is_not_opened_again(scan):
    loaded = LoadImageOrSeriesd("image")({"image": open_image(scan)})["image"]
    assert loaded.meta["filename_or_obj"] == str(scan) and loaded.shape == SHAPE


def test_the_free_memory_is_some():
    assert 2**20 < free_memory() < 2**50


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    (tmp_path / "max").write_text("1000000\n")
    (tmp_path / "current").write_text("400000\n")
    files = tmp_path / "max", tmp_path / "current", "inactive_file"
    monkeypatch.setattr("bundle.runtime.host_memory.LIMITS", (files,))
    assert free_memory() == 600000
    (tmp_path / "max").write_text("max\n")
    assert free_memory() > 2**20


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"output_ext": ".png"}, r"a \.png holds no volume"),
        ({"output_ext": ".tif"}, r"a \.tif holds no volume"),
        ({"output_ext": ".mha", "output_dtype": "int8"}, r"output_dtype 'int8' is unknown to \.mha"),
        ({"output_ext": ".mgz", "output_dtype": "float64"}, r"'float64' .*\.mgz"),
        ({"output_ext": ".dcm"}, r"scan\.nii' is not a DICOM X-ray to derive one from"),
    ],
    ids=str,
)
def test_what_the_result_s_format_cannot_hold_is_refused_before_anything_is_computed(tmp_path, scan, keys, told):
    with pytest.raises(ValueError, match=told):
        preparing(tmp_path / "out", **keys)({"image": str(scan)})
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("kind", "keys", "told"),
    [
        (
            "series",
            {"output_dtype": "float32"},
            r"^output_dtype 'float32' is unknown to a derived DICOM series, .* take",
        ),
        ("series", {"output_dtype": "int32"}, r"^output_dtype 'int32' is unknown to a derived DICOM series"),
        ("series", {"output_ext": ".dcm"}, r"series' is a DICOM series, and output_ext '\.dcm' the single file of an"),
        ("photo.png", {"output_dtype": "float32"}, r"^output_dtype 'float32' is not that of grey values of 8 bits, wh"),
    ],
    ids=str,
)
def test_a_voxel_type_or_format_that_would_be_another_is_refused(tmp_path, kind, keys, told):
    if kind == "series":
        write_series(tmp_path / kind, np.full(SHAPE, 40.0), np.diag([-1.0, -1, 1, 1]))
    else:
        Image.new("L", (9, 8), 77).save(tmp_path / kind)
    dims = 3 if kind == "series" else 2
    with pytest.raises(ImageError, match=told):
        preparing(tmp_path / "out", spatial_dims=dims, **keys)({"image": str(tmp_path / kind)})
    assert not list((tmp_path / "out").glob("*"))
