"""Images packed for training: read by windows, the same voxels, on disk once."""

import json

import nibabel
import numpy as np
import pytest
import torch

from bundle.geometry import read_window, spacing_of
from bundle.training.data import PackedImage
from bundle.training.data.packing import OpenPackedd, find_pairs, pack, read, shrink
from tests.processes import ROOT


@pytest.fixture
def scan(tmp_path):
    """An image of drawn whole numbers, its axes flipped and unequal."""
    voxels = np.random.default_rng(0).integers(-1024, 1500, (20, 16, 9)).astype(np.int16)
    path = tmp_path / "scans" / "scan.nii.gz"
    path.parent.mkdir()
    nibabel.Nifti1Image(voxels, np.diag([-0.7, -0.8, 2.5, 1.0])).to_filename(path)
    return path


def test_packed_voxels_are_the_image_s_own(scan, tmp_path):
    packed = PackedImage(pack(scan, tmp_path / "packed"))
    whole = read(scan)
    assert packed.shape == whole.shape
    assert torch.equal(packed[0, ...], whole[0].as_tensor())
    assert spacing_of(packed, 3) == pytest.approx([0.7, 0.8, 2.5])
    assert nibabel.load(packed.path).get_data_dtype() == np.int16


def test_windows_are_those_of_the_image_over_its_border_too(scan, tmp_path):
    packed = PackedImage(pack(scan, tmp_path / "packed"))
    for bounds in (((2, 9), (0, 16), (3, 4)), ((-3, 4), (10, 20), (-2, 12))):
        assert torch.equal(packed.window(bounds), read_window(read(scan).as_tensor()[None], bounds)[0])


def test_one_voxel(scan, tmp_path):
    packed = PackedImage(pack(scan, tmp_path / "packed"))
    assert float(packed[0, 3, 4, 5]) == float(read(scan)[0, 3, 4, 5])


def test_an_image_is_packed_once_and_again_when_it_changes(scan, tmp_path):
    first = pack(scan, tmp_path / "packed")
    stamp = first.stat().st_mtime_ns
    assert pack(scan, tmp_path / "packed") == first and first.stat().st_mtime_ns == stamp
    image = nibabel.load(scan)
    nibabel.Nifti1Image(image.get_fdata()[:10].astype(np.int16), image.affine).to_filename(scan)
    assert pack(scan, tmp_path / "packed") != first


def test_fractions_stay_fractions(tmp_path):
    nibabel.Nifti1Image(np.full((4, 4, 4), 0.25, np.float32), np.eye(4)).to_filename(tmp_path / "a.nii")
    assert float(PackedImage(pack(tmp_path / "a.nii", tmp_path / "p"))[0, 1, 1, 1]) == 0.25


def test_open_packed_opens_what_is_there(scan, tmp_path):
    opened = OpenPackedd(["image", "label"], tmp_path / "packed", allow_missing_keys=True)({"image": str(scan)})
    assert isinstance(opened["image"], PackedImage) and "label" not in opened


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.nii"):
        pack(tmp_path / "nothing.nii", tmp_path)


def test_more_channels_are_refused(tmp_path):
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 1, 3)), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(ValueError, match="one channel"):
        pack(tmp_path / "a.nii", tmp_path)


def test_names_are_held_out_with_or_without_suffix(scan):
    assert find_pairs(scan.parent) == [{"image": str(scan)}]
    assert find_pairs(scan.parent, held_out=["scan"]) == find_pairs(scan.parent, held_out=["scan.nii.gz"]) == []
    with pytest.raises(FileNotFoundError, match=r"held_out holds 'scan\.nii', but there is no such image beside '"):
        find_pairs(scan.parent, held_out=["scan.nii"])
    with pytest.raises(TypeError, match=r"held_out 'scan' must be a list of names, such as \['scan'\]"):
        find_pairs(scan.parent, held_out="scan")


@pytest.mark.parametrize("config", ["train", "xray_2d_train"])
def test_names_that_a_config_holds_out_itself_may_be_missing(scan, config):
    held_out = json.loads((ROOT / "configs" / f"{config}.json").read_text(encoding="utf-8"))["held_out"]
    assert held_out and find_pairs(scan.parent, held_out=held_out) == [{"image": str(scan)}]


def test_a_data_set_is_shrunk_to_a_limit(scan, tmp_path, capsys):
    """Air around the body goes first, then slices at both ends."""
    image = nibabel.load(scan)
    voxels = np.full((60, 60, 40), -1000, np.int16)
    voxels[20:40, 22:38] = np.tile(image.get_fdata(), (1, 1, 5))[..., :40]
    nibabel.Nifti1Image(voxels, image.affine).to_filename(scan)
    shrink(scan.parent, tmp_path / "all", "1MB")
    everything = nibabel.load(tmp_path / "all" / "scan.nii.gz")
    assert everything.shape[0] <= 20 and everything.shape[2] >= 39
    limit = (tmp_path / "all" / "scan.nii.gz").stat().st_size // 2
    shrink(scan.parent, tmp_path / "less", limit)
    assert (tmp_path / "less" / "scan.nii.gz").stat().st_size <= limit
    assert 0 < nibabel.load(tmp_path / "less" / "scan.nii.gz").shape[2] < 40
    assert "1 images" in capsys.readouterr().out
    with pytest.raises(ValueError, match="limit 100"):
        shrink(scan.parent, tmp_path / "none", 100)
    assert not list((tmp_path / "none").iterdir())


def test_a_data_set_is_not_shrunk_in_place(scan):
    before = scan.read_bytes()
    with pytest.raises(ValueError, match="is the folder of the images"):
        shrink(scan.parent, scan.parent, "1MB")
    assert scan.read_bytes() == before


def test_no_foreign_image_is_replaced(scan, tmp_path):
    nibabel.load(scan).to_filename(scan.with_name("another.nii.gz"))
    (tmp_path / "packed").mkdir()
    foreign = tmp_path / "packed" / "scan.nii.gz"
    nibabel.load(scan).to_filename(foreign)
    before = foreign.read_bytes()
    with pytest.raises(FileExistsError, match=r"scan.nii.gz' exists already, and is not a packed image of this bundle"):
        shrink(scan.parent, tmp_path / "packed", "1MB")
    assert foreign.read_bytes() == before and list((tmp_path / "packed").iterdir()) == [foreign]
    foreign.unlink()
    for _ in range(2):  # its own are replaced
        shrink(scan.parent, tmp_path / "packed", "1MB")
    assert len(list((tmp_path / "packed").iterdir())) == 2
