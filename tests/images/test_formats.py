"""Images are found by path, read with their values and geometry whatever the format, and sliced beyond their border."""

import itk
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image
from pydicom.uid import MPEG2MPML

from bundle.geometry import read_window, spacing_of
from bundle.images import create_image, files_of, find_images, held, is_series, open_image, suffix
from bundle.images.formats import check_not_source
from bundle.images.reader import ScanReader, load_image
from tests.dicom_series import SHAPE, SPACING, backwards, hounsfield, oblique, write_series
from tests.dicom_syntaxes import RAMP, TRANSFER_SYNTAXES, encode


def write(path, volume, affine):
    """Write a volume with its affine (right, front, head) by a library of the format."""
    if suffix(path) in (".nii", ".nii.gz"):
        nibabel.Nifti1Image(volume, affine).to_filename(path)
    elif not suffix(path):
        write_series(path, volume, affine)
    else:
        image = itk.image_from_array(np.ascontiguousarray(volume.T))
        to_itk = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK: left, back, head
        spacing = np.linalg.norm(to_itk[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(to_itk[:3, 3].tolist())
        image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(to_itk[:3, :3] / spacing)))
        itk.imwrite(image, str(path))
    return path


def load(path):
    return LoadImage(dtype=None)(str(path), reader=ScanReader())


# Windows


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_read_window_repeats_the_border(data):
    """A window beyond the border is one of the image padded by its border."""
    spatial_dims = data.draw(st.sampled_from([2, 3]))
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * spatial_dims))
    inside = [data.draw(st.integers(0, size - 1)) for size in shape]
    bounds = [(i - data.draw(st.integers(0, 9)), i + 1 + data.draw(st.integers(0, 9))) for i in inside]
    image = torch.arange(2.0 * np.prod(shape)).reshape(1, 2, *shape)
    padded = np.pad(image.numpy(), [(0, 0), (0, 0), *[(20, 20)] * spatial_dims], mode="edge")
    for axis, (start, stop) in enumerate(bounds):
        padded = padded.take(range(start + 20, stop + 20), axis + 2)
    np.testing.assert_array_equal(read_window(image, bounds), padded)


def test_read_window_small():
    """One can see it."""
    image = torch.tensor([[[[1, 2], [3, 4]]]])
    assert read_window(image, [(-1, 2), (1, 4)])[0, 0].tolist() == [[2, 2, 2], [2, 2, 2], [4, 4, 4]]


# Names and folders


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("scan.nii.gz", ".nii.gz"),
        ("a/b.v1.NII.GZ", ".nii.gz"),
        ("scan.nii", ".nii"),
        ("scan.MHA", ".mha"),
        ("slice.jpeg", ".jpeg"),
        ("slice.tiff", ".tiff"),
        ("weights.pt", ""),
        ("table.csv.gz", ""),
        ("1.2.840.10008", ""),
        ("nii", ""),
    ],
)
def test_suffix(name, end):
    assert suffix(name) == end


def test_find_images_in_a_folder(tmp_path):
    """Files of known formats and series folders are found, sorted; everything else is passed over."""
    for name in ("b.nii.gz", "a.mha", "notes.txt"):
        (tmp_path / name).touch()
    write_series(tmp_path / "series", hounsfield((2, 2, 2)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "c.nii").touch()
    assert find_images(tmp_path) == [str(tmp_path / name) for name in ("a.mha", "b.nii.gz", "series")]


def test_find_images_takes_one_file_or_one_series(tmp_path):
    (tmp_path / "b.nii.gz").touch()
    write_series(tmp_path / "series", hounsfield((2, 2, 2)))
    assert find_images(str(tmp_path / "b.nii.gz")) == [str(tmp_path / "b.nii.gz")]
    assert find_images(str(tmp_path / "series") + "/") == [str(tmp_path / "series")]
    assert is_series(tmp_path / "series")
    assert not is_series(tmp_path)
    assert not is_series(tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    ("name", "rule"),
    [("absent", "does not exist"), ("empty", "holds no image"), ("notes.txt", r"ends in none of .*\.nii")],
)
def test_find_images_says_what_is_missing(tmp_path, name, rule):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=rf"{name}.*{rule}"):
        find_images(tmp_path / name)


# Readers


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd", "scan"])
def test_every_format_gives_the_values_and_the_geometry(tmp_path, name):
    """HU and affine are those that nibabel gives for the same volume as NIfTI."""
    volume, affine = hounsfield(), oblique()
    image = load(write(tmp_path / name, volume, affine))
    nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "reference.nii")
    reference = nibabel.Nifti1Image.from_filename(tmp_path / "reference.nii")
    np.testing.assert_array_equal(image, np.asanyarray(reference.dataobj))
    np.testing.assert_allclose(image.affine, reference.affine, atol=1e-4)
    whole = load_image(tmp_path / name)
    assert whole.dtype == torch.float32 and torch.equal(whole.affine, image.affine)
    np.testing.assert_array_equal(whole, image)
    assert image.meta["filename_or_obj"] == str(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd"])
def test_upper_case_suffixes_are_read(tmp_path, name):
    volume = hounsfield()
    upper = write(tmp_path / name, volume, oblique()).rename(tmp_path / name.upper())
    np.testing.assert_array_equal(load(upper), volume)


def test_a_series_of_one_slice_is_a_volume(tmp_path):
    volume = hounsfield((4, 3, 1))
    np.testing.assert_array_equal(load(write(tmp_path / "scan", volume, oblique())), volume)


def test_a_series_against_the_order_of_its_scanner(tmp_path):
    """Slices are turned round, and each stays where it was."""
    volume, affine = hounsfield(), backwards()
    image = load(write(tmp_path / "scan", volume, affine))
    np.testing.assert_array_equal(image, volume[..., ::-1])
    turned = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SHAPE[2] - 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, affine @ turned, atol=1e-4)


def test_one_series_of_several_is_read(tmp_path):
    """And the metadata tell which."""
    volume = hounsfield()
    write_series(tmp_path, volume, series="1.2.3.4")
    write_series(tmp_path, volume // 2, series="1.2.3.5")
    image = LoadImage(dtype=None)(str(tmp_path), reader=ScanReader("1.2.3.5"))
    np.testing.assert_array_equal(image, volume // 2)
    assert image.meta["series_uid"] == "1.2.3.5"


@pytest.mark.parametrize(
    ("slope", "intercept", "signed", "bits"),
    [
        ((1, 1, 1), (-1024, -1024, -1024), False, 12),
        ((1, 1, 1), (0, 0, 0), True, 12),
        ((1, 1, 1), (-8192, -8192, -8192), False, 16),
        ((1, 1, 1), (-1024, -1024, -1024), True, 16),
        ((0.5, 0.5, 0.5), (-1024.5, -1024.5, -1024.5), False, 16),
        ((1, 2.5, 0.5), (-1024, -1024, -1024), False, 16),
        ((1, 1, 1), (0, -1024, -1024), False, 16),
    ],
    ids=["unsigned", "signed", "wide", "signed, shifted", "half steps", "a slope each", "first slice above zero"],
)
def test_every_way_of_storing_gives_hounsfield_units(tmp_path, slope, intercept, signed, bits):
    """The type that holds the first slice need not hold the others'."""
    stored = np.random.default_rng(0).integers(0, 2000, (7, 6, 3))

    def edit(header, z):
        header.RescaleSlope, header.RescaleIntercept, header.PixelRepresentation = slope[z], intercept[z], int(signed)
        header.BitsStored, header.HighBit = bits, bits - 1
        header.PixelData = (stored[..., z].T - 1000 * signed).astype("<i2" if signed else "<u2").tobytes()

    write_series(tmp_path, np.zeros((7, 6, 3), np.int16), edit=edit)
    np.testing.assert_array_equal(load(tmp_path), (stored - 1000 * signed) * np.array(slope) + intercept)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_compressed_series_are_read(tmp_path, syntax):
    files = write_series(tmp_path, RAMP)
    for file in files:
        encode(file, syntax)
    np.testing.assert_array_equal(load(tmp_path), RAMP)


def test_what_cannot_be_decoded_is_named(tmp_path):
    (file,) = write_series(tmp_path, hounsfield((8, 6, 1)))
    encode(file, MPEG2MPML)
    with pytest.raises(ValueError, match=r"cannot decode.*MPEG2.*\(1\.2\.840\.10008\.1\.2\.4\.100\).*rewrite it"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["photo.png", "photo.tif", "photo.tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_photos_are_read_as_they_are(tmp_path, name, dtype):
    """The first axis runs to the right, the second down, as in every other format."""
    photo = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 4), dtype=dtype)
    Image.fromarray(photo.T).save(tmp_path / name)
    image = load(tmp_path / name)
    np.testing.assert_array_equal(image, photo)
    assert spacing_of(image, 2) == [1, 1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_photos_in_colour_are_read_as_grey(tmp_path, mode):
    Image.new("L", (6, 4), 77).convert(mode).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(load(tmp_path / "photo.png"), np.full((6, 4), 77))


def test_reader_says_what_it_cannot_read(tmp_path):
    (tmp_path / "scan.txt").touch()
    assert not ScanReader().verify_suffix(tmp_path / "scan.txt")
    assert ScanReader().verify_suffix(tmp_path)
    with pytest.raises(ValueError, match=r"scan\.txt.*no known format; take one of \.nii\.gz"):
        ScanReader().read(tmp_path / "scan.txt")
    with pytest.raises(FileNotFoundError, match=r"absent\.nii.*does not exist"):
        ScanReader().read(tmp_path / "absent.nii")


def test_a_source_is_known_by_whatever_name(tmp_path):
    source = tmp_path / "scan.nii"
    check_not_source(tmp_path / "other.nii", source)
    for name in ("scan.nii", "absent/../scan.nii"):
        with pytest.raises(FileExistsError, match="is the source itself"):
            check_not_source(tmp_path / name, source)
    source.touch()
    (tmp_path / "other.nii").touch()
    check_not_source(tmp_path / "other.nii", source)
    (tmp_path / "link.nii").hardlink_to(source)
    with pytest.raises(FileExistsError, match=r"link\.nii' is the source itself"):
        check_not_source(tmp_path / "link.nii", source)


def test_the_files_of_an_image_are_told(tmp_path):
    """Of a series all in its folder, and none of a folder within; of an OME-Zarr also those."""
    slices = write_series(tmp_path / "ct", hounsfield())
    for folder in ("ct", "a.zarr"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "c").touch()
    (tmp_path / "a.zarr" / "zarr.json").touch()
    assert list(map(str, files_of(tmp_path / "ct"))) == sorted(slices)
    assert files_of(tmp_path / "a.zarr") == [tmp_path / "a.zarr" / name for name in ("deep/c", "zarr.json")]
    assert files_of(tmp_path / "scan.nii") == [tmp_path / "scan.nii"]


def test_last_axes_of_one_voxel_need_not_be_given(tmp_path):
    voxels = hounsfield((4, 3, 1))
    with create_image(tmp_path / "a.nii", held(voxels, np.eye(4)), np.int16) as put:
        put((slice(0, 4), slice(0, 3)), voxels[..., 0])
    np.testing.assert_array_equal(open_image(tmp_path / "a.nii").whole(), voxels)


def test_errors_of_a_broken_folder_come_through(tmp_path):
    """Not an error of every reader tried, one after the other."""
    write_series(tmp_path, hounsfield(), skip=(1,))
    with pytest.raises(ValueError, match="missing"):
        load(tmp_path)


# Spacing


def test_spacing_of(spatial_dims):
    """From the affine, batched or not; 1 where there is none."""
    image = torch.zeros(1, *SHAPE[:spatial_dims])
    affine = torch.as_tensor(oblique() if spatial_dims == 3 else np.diag([-0.7, 0.8, 1, 1]))
    expected = pytest.approx(SPACING[:spatial_dims])
    assert spacing_of(MetaTensor(image, affine=affine), spatial_dims) == expected
    batched = MetaTensor(image[None], affine=affine[None])
    assert batched.affine.shape == (1, 4, 4)
    assert spacing_of(batched, spatial_dims) == expected
    assert spacing_of(image, spatial_dims) == [1.0] * spatial_dims
