"""FreeSurfer's format is read and written, in memory and streamed."""

import nibabel
import numpy as np
import pytest
from nibabel.openers import ImageOpener

from bundle.images import ImageError, create_image, find_images, held, open_image
from tests.images.ways import both_ways, through

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (9, 8, 7), dtype=np.int16)
AFFINE = np.array([[-0.8, 0, 0, 25], [0, 0, 0.9, -20], [0, -1.5, 0, 30], [0, 0, 0, 1]])


@both_ways
@pytest.mark.parametrize("end", [".mgz", ".mgh"])
def test_voxels_and_place_come_back(tmp_path, streaming, end):
    path = tmp_path / f"a{end}"
    nibabel.MGHImage(VOXELS, AFFINE).to_filename(path)
    assert find_images(tmp_path) == [str(path)]
    np.testing.assert_array_equal(open_image(path)[2:5, 1:3, 6:7], VOXELS[2:5, 1:3, 6:7])
    made = through(path, tmp_path / "out", streaming)
    assert made.name == f"a_translated{end}"
    with ImageOpener(str(made)) as file:
        image = nibabel.MGHImage.from_bytes(file.read())
    np.testing.assert_array_equal(image.dataobj, VOXELS)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert image.get_data_dtype().newbyteorder("=") == np.int16


def test_a_type_that_the_format_does_not_know_is_told(tmp_path):
    with (
        pytest.raises(ImageError, match=r"output_dtype 'uint16' is unknown to \.mgz; take one of uint8, int16"),
        create_image(tmp_path / "a.mgz", held(VOXELS, AFFINE), np.uint16),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_several_frames_are_told(tmp_path):
    nibabel.MGHImage(np.stack([VOXELS, VOXELS], -1), AFFINE).to_filename(tmp_path / "a.mgz")
    with pytest.raises(ImageError, match="one channel and one time point"):
        open_image(tmp_path / "a.mgz")
