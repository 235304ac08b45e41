"""Files that the bundle made are told from others, which nothing replaces."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from bundle.images import create_image, held, open_image
from bundle.images.own_files import OWN, check_own, is_own_file
from bundle.images.provenance import NAME

PICTURE, VOLUME = np.arange(30, dtype=np.uint8).reshape(6, 5), np.zeros((6, 5, 4), np.int16)


def made(path, meta, voxels):
    """A file that `create_image` writes."""
    with create_image(path, held(voxels, np.eye(4), meta=meta), voxels.dtype) as write:
        write(tuple(slice(0, size) for size in voxels.shape), voxels)
    return path


@pytest.mark.parametrize(
    ("name", "voxels"), [("a.nii", VOLUME), ("a.nii.gz", VOLUME), ("a.nii", PICTURE), ("a.png", PICTURE)]
)
def test_images_are_marked_on_request(name, voxels, tmp_path):
    assert is_own_file(made(tmp_path / name, OWN, voxels))
    check_own(tmp_path / name, "image")
    assert not is_own_file(made(tmp_path / name, {}, voxels))
    with pytest.raises(FileExistsError, match=rf"{name}' exists already, and is not a image of this bundle; rename it"):
        check_own(tmp_path / name, "image", way_out="rename it")


def test_what_is_made_from_a_marked_image_is_not_marked(tmp_path):
    source = open_image(made(tmp_path / "a.nii", OWN, VOLUME))
    with create_image(tmp_path / "b.nii", source, np.int16) as write:
        write(tuple(slice(0, size) for size in VOLUME.shape), VOLUME)
    assert not is_own_file(tmp_path / "b.nii")


def test_texts_are_known_by_a_line(tmp_path):
    path = tmp_path / "a.csv"
    check_own(path, "table", "kind,case")
    path.write_text("kind,case\n1,2\n")
    assert is_own_file(path, "kind,case") and not is_own_file(path, "kind") and not is_own_file(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.md"])
@pytest.mark.parametrize("content", [b"", b"mine", b"\xff\xfe", NAME.encode() * 40])
def test_other_files_are_not_its_own(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert not is_own_file(tmp_path / name, "a line")


def test_other_images_and_folders_are_not_its_own(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    nibabel.Nifti1Image(VOLUME, np.eye(4)).to_filename(tmp_path / "a.nii")
    (tmp_path / "b.nii").mkdir()
    (tmp_path / "plan").mkdir()
    for name in ("a.png", "a.nii", "b.nii", "plan"):
        with pytest.raises(FileExistsError, match="is not a file of this bundle; give it another name"):
            check_own(tmp_path / name, "file", "a line")
