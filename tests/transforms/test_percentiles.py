"""The percentile window: one scale for MR images of any scanner."""

import shutil

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from bundle.transforms.percentiles import MOST, TOP, ScalePercentilesd, percentile_window, scaled, store
from tests.processes import ran


def head(gain=1.0, offset=0.0, air=20):
    """A bright ball in air, from 100 to 400 before gain and offset."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 24 + air)] * 3, indexing="ij"))
    radius = grid.norm(dim=0) * (24 + air) / 24
    inside = (400 - 300 * radius).clamp(min=100)
    return (torch.where(radius < 1, inside, torch.zeros(())) * gain + offset)[None]


def test_gain_and_offset_of_a_scanner_do_not_matter():
    one, other = head(), head(gain=3.7, offset=55)
    expected = scaled(one, percentile_window(one))
    assert torch.allclose(scaled(other, percentile_window(other)), expected, atol=0.01)
    assert float(expected.min()) == 0 and float(expected.median()) == 0
    assert TOP < float(expected.max()) <= MOST


def test_air_around_the_head_does_not_matter():
    tight, wide = head(air=4), head(air=60)
    assert percentile_window(wide)[1] == pytest.approx(percentile_window(tight)[1], rel=0.02)


def test_scaled_once_is_scaled_for_good():
    stored = scaled(head(), percentile_window(head()))
    assert percentile_window(stored) == pytest.approx((0, TOP), abs=1e-3)


def with_fat(image, brightness):
    """The ball in a shell of fat, and faint noise in the air around it."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side) for side in image.shape[1:]], indexing="ij"))
    radius = grid.norm(dim=0) * image.shape[1] / 24
    noise = 4 * torch.rand(radius.shape, generator=torch.Generator().manual_seed(0))
    return torch.where((radius >= 1) & (radius < 1.1), torch.full((), brightness), image[0].maximum(noise))[None]


def test_the_brightness_of_fat_does_not_matter_to_the_median():
    """The upper percentile takes fat as its measure, and the brain beside bright fat becomes dark."""
    dim, bright = (with_fat(head(), brightness) for brightness in (500.0, 1500.0))
    by_median, by_fat = (
        [
            float(scaled(image, percentile_window(image, median=median), 2 * TOP)[0, 16, 22, 22])
            for image in (dim, bright)
        ]
        for median in (500, None)
    )
    assert by_median[0] == pytest.approx(by_median[1], rel=0.02) and by_fat[0] > 2 * by_fat[1]


def test_the_median_of_what_is_not_noise_is_set():
    image = with_fat(head(air=60), 600.0)
    made = ScalePercentilesd("image", median=400)({"image": image})["image"]
    assert float(made[made > 30].median()) == pytest.approx(400, rel=0.01)
    assert percentile_window(made, median=400) == pytest.approx((0, TOP), rel=0.01, abs=3)


@pytest.mark.parametrize("median", [0, -1, 1001, float("nan"), "abc", True])
def test_a_median_out_of_range_is_told_before_an_image_is_read(median):
    with pytest.raises(ValueError, match="such as 500"):
        ScalePercentilesd("image", median=median)


def test_fluid_as_dark_as_the_background_is_none_of_it():
    """A dark ventricle becomes 1; a dark groove, which opens to the outside, stays 0, as the air does."""
    image = head()
    middle = image.shape[1] // 2
    image[0, middle - 2 : middle + 2, middle - 1 : middle + 2, middle] = 0
    image[0, middle, middle + 6 :, middle] = 0
    made = scaled(image, percentile_window(image))[0]
    assert torch.all(made[middle - 2 : middle + 2, middle - 1 : middle + 2, middle] == 1)
    assert torch.all(made[middle, middle + 6 :, middle] == 0) and made[0, 0, 0] == 0
    expected = scaled(head(), percentile_window(image))[0]
    rest = (image[0] > 0) | (head()[0] == 0)
    assert torch.equal(made[rest], expected[rest])


def test_the_window_is_noted():
    image = MetaTensor(head())
    made = ScalePercentilesd("image")({"image": image})["image"]
    assert made.meta["percentiles"] == percentile_window(image)
    assert torch.equal(made.as_tensor(), scaled(head(), percentile_window(image)))


def test_it_is_stored_on_the_same_grid(tmp_path):
    affine = np.diag([-2.0, 1.5, 1.0, 1.0])
    nibabel.Nifti1Image(head()[0].numpy(), affine).to_filename(tmp_path / "t1.nii.gz")
    store(tmp_path / "t1.nii.gz", tmp_path / "stored" / "t1.nii.gz")
    found = nibabel.load(tmp_path / "stored" / "t1.nii.gz")
    assert np.array_equal(found.affine, affine) and found.get_data_dtype() == np.int16
    assert np.array_equal(found.dataobj, scaled(head(), percentile_window(head()))[0].round().numpy())


@pytest.mark.parametrize(
    ("image", "percentiles", "message"),
    [
        (torch.zeros(4, 4), (1, 99.5), "nothing above its background"),
        (MetaTensor(torch.zeros(4, 4), meta={"filename_or_obj": "t1.nii"}), (1, 99.5), "image 't1.nii' holds nothing"),
        *(
            (torch.rand(4, 4), pair, r"^percentiles \[.*\] is not a pair of numbers from 0 to 100 of which the first")
            for pair in ((-1, 99.5), (1, 101), ("one", 99), (99, 1), (1, 1))
        ),
    ],
)
def test_what_has_no_window_is_told(image, percentiles, message):
    with pytest.raises(ValueError, match=message):
        percentile_window(image, *percentiles)


def test_x_rays_of_a_folder_become_black_and_white(tmp_path):
    levels = np.linspace(80, 180, 64 * 48).round().astype(np.uint8).reshape(48, 64)
    (tmp_path / "faint").mkdir()
    Image.fromarray(levels).save(tmp_path / "faint" / "one.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "faint" / "deep.tiff")
    store(tmp_path / "faint", tmp_path / "stretched", lower=1, upper=99)
    low, high = percentile_window(torch.from_numpy(levels), 1, 99)
    expected = np.clip((levels - low) / (high - low), 0, 1) * 255
    for name in ("one.png", "deep.png"):
        found = np.asarray(Image.open(tmp_path / "stretched" / name))
        assert found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
        assert np.abs(found - expected).max() <= 1
    assert sorted(path.name for path in (tmp_path / "stretched").iterdir()) == ["deep.png", "one.png"]


@pytest.mark.parametrize("name", ["t1.png", "t1.mha"])
def test_a_volume_is_written_as_nifti_alone(tmp_path, name):
    nibabel.Nifti1Image(head()[0].numpy(), np.eye(4)).to_filename(tmp_path / "t1.nii.gz")
    with pytest.raises(ValueError, match="must end in"):
        store(tmp_path / "t1.nii.gz", tmp_path / name)
    assert not (tmp_path / name).exists()


def test_images_that_would_become_one_are_refused_before_anything_is_written(tmp_path):
    levels = np.linspace(80, 180, 64 * 48).round().astype(np.uint8).reshape(48, 64)
    (tmp_path / "x").mkdir()
    for name in ("0.png", "a.png", "a.jpg"):
        Image.fromarray(levels).save(tmp_path / "x" / name)
    with pytest.raises(ValueError, match=r"'.*a\.jpg' and '.*a\.png' would both become '.*a\.png'; rename one"):
        store(tmp_path / "x", tmp_path / "stored")
    assert not (tmp_path / "stored").exists()


def test_no_foreign_image_is_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "into").mkdir()
    Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 200).save(tmp_path / "x" / "b.png")
    nibabel.Nifti1Image(head()[0].numpy(), np.eye(4)).to_filename(tmp_path / "x" / "c.nii.gz")
    for name in ("b.png", "c.nii.gz"):
        for _ in range(2):  # its own are replaced
            store(tmp_path / "x", tmp_path / "own" / name.split(".")[0])
        foreign = tmp_path / "into" / name
        shutil.copy(tmp_path / "x" / name, foreign)
        before = foreign.read_bytes()
        told = f"{name}' exists already, and is not a scaled image of this bundle; give"
        with pytest.raises(FileExistsError, match=told):
            store(tmp_path / "x", tmp_path / "into")
        with pytest.raises(FileExistsError, match=told):
            store(tmp_path / "x" / name, foreign)
        assert list((tmp_path / "into").iterdir()) == [foreign] and foreign.read_bytes() == before
        foreign.unlink()


def test_a_source_that_does_not_exist_ends_in_one_line(tmp_path):
    made = ran("-m", "bundle.transforms.percentiles", str(tmp_path / "nowhere"), str(tmp_path / "stored"))
    assert made.returncode == 1 and "Traceback" not in made.stderr
    assert made.stderr.splitlines()[-1].startswith(f"error: image '{tmp_path / 'nowhere'}' does not exist; give an")


def test_no_source_is_replaced(tmp_path):
    """Neither an image nor a folder by itself, nor by the result of another image, also through a link."""
    (tmp_path / "x" / "in").mkdir(parents=True)
    for name in ("x/a.nii.gz", "x/in/b.nii.gz", "y.nii.gz"):
        nibabel.Nifti1Image(head()[0].numpy(), np.eye(4)).to_filename(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "a.nii.gz").symlink_to(tmp_path / "x" / "a.nii.gz")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for image, destination in (("x", "x"), ("x", "link"), ("x", "into"), ("y.nii.gz", "y.nii.gz"), ("x", "x/../x")):
        with pytest.raises(
            ValueError, match=r"^destination .* is (the source itself|one of the sources); give another"
        ):
            store(tmp_path / image, tmp_path / destination)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
