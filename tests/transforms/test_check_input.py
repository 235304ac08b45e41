"""What is not a CT in HU is refused, in one line and before anything is done; CTs, and parts of them, are not."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose, EnsureChannelFirstd, Orientationd
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from benchmarks.check_input import PHANTOMS, UNFIT, body
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import ImageError, Opened, held, open_image
from bundle.runtime import noted
from bundle.transforms import CheckInput, LoadImageOrSeriesd, PrepareImaged
from tests.dicom_series import write_series
from tests.images.ways import both_ways

ROOT = Path(__file__).parents[2]
PHANTOM = ThoraxPhantom((192, 160, 16), (1.9, 1.8, 8.0), noise=40)
#: What the error of each kind says.
RULES = {
    "8 bits, 0 to 255": "has values from 0 up",
    "scaled to 0..1": "has values from 0 to 1 only",
    "scaled to -1..1": "has values from -1 to 1 only",
    "16 bits as of PNG, 0 to 65535": "below -1400 or above 3200",
    "mean 0, deviation 1": "only; those of a CT in HU span more than 15",
    "stored values, HU + 1024": "subtract 1024 if these are stored values",
    "the same, padded by -2000": "subtract 1024 if these are stored values",
    "in units of 1000 HU": "only; those of a CT in HU span more than 15",
    "ten times HU": "below -1400 or above 3200",
    "body alone, 0 around it": "is exactly 0 in",
    "lung alone, 0 around it": "is exactly 0 in",
    "lung alone, -1000 around it": "of the others are lung",
    "upper half 0": "is exactly 0 in",
    "map of labels": "is exactly 0 in",
    "constant 0": "has the value 0 in all its voxels",
    "constant -1024": "has the value -1024 in all its voxels",
    "air alone, noise of 20 HU": "has nothing denser than",
    "white noise of 300 HU": "is noise",
    "uniform noise, -1000 to 1000": "is noise",
    "colours, three slices": "has values from 0 up",
    "NaN at a corner": "not finite numbers",
}


@pytest.fixture(scope="module")
def thorax():
    return PHANTOM[...].astype(np.float32)


def unfit(kind, thorax):
    voxels = np.asarray(UNFIT[kind](thorax, np.random.default_rng(0)), np.float32)
    return held(voxels, PHANTOM.affine, f"{len(kind)}.nii")


def told(image, **keys):
    """What a check that refuses warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CheckInput(**keys)(image)


def of_phantom(voxels=None, spacing=(1.9, 1.8, 8.0)):
    return held(PHANTOM[...] if voxels is None else voxels, np.diag([*spacing, 1.0]), "phantom.nii")


def preparing(folder, streaming, check):
    opening = [LoadImageOrSeriesd("image"), EnsureChannelFirstd("image"), Orientationd("image", "RAS", labels=None)]
    return PrepareImaged("image", Compose(opening), streaming, folder, check=check)


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_ct_is_refused_in_one_line(kind, thorax):
    image = unfit(kind, thorax)
    with pytest.raises(ImageError) as error:
        told(image)
    text = str(error.value)
    assert RULES[kind] in text and repr(str(image.path)) in text and "\n" not in text
    assert text.endswith("or set --check_input warn.") or kind == "NaN at a corner"


@pytest.mark.parametrize("options", PHANTOMS, ids=str)
def test_phantoms_of_all_shapes_are_not(options):
    phantom = ThoraxPhantom(**options)
    told(held(phantom[...], phantom.affine, "phantom"))


@pytest.mark.parametrize("seed", range(24))
def test_parts_are_not(thorax, seed):
    """A single slice, a few voxels of it, with air or without."""
    rng = np.random.default_rng(seed)
    size = [(64, 64, 1), (32, 32, 8), (100, 40, 1), (192, 160, 1)][seed % 4]
    middle = [(40, 150), (50, 110), (0, 16)]
    starts = [min(int(rng.integers(*b)), s - n) for b, s, n in zip(middle, thorax.shape, size, strict=True)]
    told(of_phantom(thorax[tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))]))


@pytest.mark.parametrize("lowest", [-1024, -1000, -2048, -3024])
def test_padding_around_the_field_of_view_is_no_mask(thorax, lowest):
    x, y = (np.linspace(-1, 1, side) for side in thorax.shape[:2])
    padded = thorax.copy()
    padded[np.hypot(*np.meshgrid(x, y, indexing="ij")) > 1] = lowest
    told(of_phantom(padded))


def test_few_zeros_are_no_mask_and_many_are(thorax):
    few, many = thorax.copy(), thorax.copy()
    few[:15], many[:25] = 0, 0
    told(of_phantom(few))
    with pytest.raises(ImageError, match=r"is exactly 0 in 13\.\d % of its voxels; .* \(at most 10 %\)"):
        told(of_phantom(many))


@both_ways
def test_the_answer_is_the_same_in_memory_and_streamed(tmp_path, thorax, streaming):
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    path = tmp_path / "scan.nii"
    nibabel.Nifti1Image(np.maximum(thorax, 0), PHANTOM.affine).to_filename(path)
    with pytest.raises(ImageError) as error:
        preparing(tmp_path / "out", streaming, CheckInput())({"image": str(path)})
    with pytest.raises(ImageError) as direct:
        CheckInput()(open_image(path))
    assert str(error.value) == str(direct.value)
    assert not list((tmp_path / "out").glob("**/*"))  # nothing was begun


@both_ways
def test_warnings_are_noted_without_the_file(tmp_path, thorax, streaming):
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    path = tmp_path / "scan.nii"
    nibabel.Nifti1Image(np.maximum(thorax, 0), PHANTOM.affine).to_filename(path)
    with pytest.warns(UserWarning, match=r"scan\.nii' has values from 0 up"):
        preparing(tmp_path / "out", streaming, CheckInput("warn"))({"image": str(path)})
    (warned,) = noted()["warnings"]
    assert warned.startswith("has values from 0 up") and "scan.nii" not in warned


@both_ways
def test_without_warnings_nothing_is_noted(tmp_path, thorax, streaming):
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    path = tmp_path / "scan.nii"
    nibabel.Nifti1Image(thorax, PHANTOM.affine).to_filename(path)
    preparing(tmp_path / "out", streaming, CheckInput())({"image": str(path)})
    assert noted()["warnings"] == []


def test_off_looks_at_nothing():
    def read(_):
        raise AssertionError("it was read")

    image = Opened(Path("scan.nii"), (64, 64, 8), np.eye(4), np.dtype(np.int16), read)
    assert CheckInput("off")(image) == []


def test_pictures_are_not_looked_at():
    """Of them, the networks for volumes refuse the axes."""
    assert told(held(np.zeros((64, 64)), np.eye(4))) == []


@pytest.mark.parametrize("action", ["", "no", "Refuse", None, True])
def test_another_action_is_refused(action):
    with pytest.raises(ValueError, match=r"check_input .* is not known; take one of refuse, warn, off\."):
        CheckInput(action)


@pytest.mark.parametrize("shape", [(700, 40, 400), (64, 64, 5), (1100, 600, 17)])
def test_few_slices_are_read_one_by_one(shape):
    """So memory does not grow with their number."""
    phantom, seen = ThoraxPhantom(shape, noise=20), []

    def read(window):
        seen.append(window)
        return phantom[window]

    told(Opened(Path("scan.nii"), phantom.shape, phantom.affine, phantom.dtype, read))
    assert len(seen) == min(shape[2], 16) and all(window[2].stop - window[2].start == 1 for window in seen)
    assert [window[2].start for window in seen] == sorted({window[2].start for window in seen})


def test_what_makes_a_result_less_sure_is_warned_of(thorax):
    metal = thorax.copy()
    metal[60:64, 60:64, 4:9] = 3071
    filled = np.where(thorax < -500, np.float32(40), thorax)
    large = ThoraxPhantom((320, 256, 8), noise=40)[...]
    wide = of_phantom(spacing=(3.5, 1.8, 12.0))
    found = {
        "shows metal": told(of_phantom(metal)),
        "is cut off: 3": told(of_phantom(thorax[50:130, 50:110])),
        "has pixels of 3.5 mm": told(wide),
        "has slices 12 mm apart": told(wide),
        "has noise of": told(of_phantom(large + np.random.default_rng(0).normal(0, 240, large.shape))),
        "seems to be no thorax": told(of_phantom(np.where(body(thorax), filled, thorax))),
    }
    for words, texts in found.items():
        assert sum(text.startswith(words) for text in texts) == 1, (words, texts)
    assert told(of_phantom()) == []


def test_a_soft_ct_is_warned_of_if_it_is_to_be_softened():
    phantom = ThoraxPhantom((512, 400, 4), (0.7, 0.75, 8.0), noise=30)
    soft = gaussian_filter(phantom[...].astype(np.float32), (1.2, 1.2, 0))
    sharp = held(phantom[...], phantom.affine, "sharp.nii")
    assert told(sharp, soft=True) == []
    assert [text.split(":")[0] for text in told(held(soft, phantom.affine, "soft.nii"), soft=True)] == [
        "is soft already"
    ]
    assert told(held(soft, phantom.affine, "soft.nii")) == []
    turned = phantom.affine[[2, 0, 1, 3]]  # the same slices, from ear to ear: their noise tells nothing
    assert not any("is soft" in text for text in told(held(soft, turned, "turned.nii"), soft=True))


def test_slices_that_are_not_axial_are_warned_of(tmp_path):
    """Kernels are converted in the axial plane, whose pixels may then be as long as the slices are apart."""
    phantom = ThoraxPhantom((80, 20, 60), (4.0, 16.0, 5.0), noise=30)
    voxels, (x, y, z, one) = phantom[...], phantom.affine.T
    coronal = held(voxels.swapaxes(1, 2), np.transpose([x, z, y, one]), "coronal.nii")
    for image in (coronal, held(voxels, phantom.affine, "turned.nii")):
        assert {"has coronal slices", "has pixels of 16 mm"} <= {text.split(";")[0] for text in told(image)}
    even = ThoraxPhantom((60, 40, 30), (6.0, 6.0, 6.0))
    turned = np.transpose([even.affine.T[n] for n in (1, 2, 0, 3)])
    as_files = write_series(tmp_path / "series", even[...].transpose(1, 2, 0), turned)
    assert as_files and any(text.startswith("has sagittal slices") for text in told(open_image(tmp_path / "series")))
    assert not any("slices;" in text for text in told(held(even[...].transpose(1, 2, 0), turned, "turned.nii")))


def series(folder, volume, **fields):
    def edit(header, **_):
        for name, value in fields.items():
            setattr(header, name, value)

    write_series(folder, volume, PHANTOM.affine, edit=edit)
    return open_image(folder)


def test_another_modality_is_refused_by_its_header(tmp_path, thorax):
    volume = thorax[..., :3].astype(np.int16)
    with pytest.raises(ImageError, match="series' has the modality 'MR'; this model is for CT; give a CT series"):
        told(series(tmp_path / "series", volume, Modality="MR"))
    with pytest.warns(UserWarning, match="has the modality 'PT'"):
        CheckInput("warn")(series(tmp_path / "other", volume, Modality="PT"))


def test_tiny_voxels_are_refused_by_the_header(thorax):
    tiny = of_phantom(thorax, (1.2e-6, 1.2e-6, 8.0))
    for check in (CheckInput(), CheckInput().by_header):
        with pytest.raises(ImageError, match=r"phantom.nii' has voxels of 1.2e-06 mm; those of a CT have 0.001 mm"):
            check(tiny)
    with pytest.warns(UserWarning, match="has voxels of 1.2e-06 mm"):
        CheckInput("warn")(tiny)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"Manufacturer": "SIEMENS", "ConvolutionKernel": ["Br40d", "3"]}, r"Br40d\3"),
        ({"Manufacturer": "SIEMENS", "ConvolutionKernel": "I50f"}, "I50f"),
        ({"SeriesDescription": "1.0 x 0.7 iDose4 LUNG"}, "iDose4"),
        ({"ProtocolName": "Chest AIDR3D"}, "AIDR"),
        ({"ImageComments": "ASiR-V 40%"}, "ASiR-V"),
        ({"ReconstructionAlgorithm": "ITERATIVE"}, "ITERATIVE"),
        ({"Manufacturer": "SIEMENS", "ConvolutionKernel": "B70f", "SeriesDescription": "First venous"}, None),
        ({"Manufacturer": "GE", "ConvolutionKernel": "LUNG", "SeriesDescription": "Patient Kirsten"}, None),
    ],
    ids=str,
)
def test_an_iterative_reconstruction_is_warned_of(tmp_path, thorax, fields, name):
    image = series(tmp_path / "series", thorax[..., :3].astype(np.int16), **fields)
    found = [text for text in told(image) if text.startswith("is an iterative reconstruction")]
    assert len(found) == (name is not None) and (not found or repr(name) in found[0])


def test_a_private_field_of_a_vendor_tells_it_too(tmp_path, thorax):
    def edit(header: Dataset, **_):
        header.add_new((0x0053, 0x0010), "LO", "GEHC_CT_ADVAPP_001")
        header.add_new((0x0053, 0x1040), "SH", "SS40: ASIR 40%")

    write_series(tmp_path / "series", thorax[..., :3].astype(np.int16), PHANTOM.affine, edit=edit)
    assert any("'ASIR'" in text for text in told(open_image(tmp_path / "series")))


@pytest.mark.parametrize(
    ("overlay", "keys", "action", "soft"),
    [
        (None, {}, "refuse", True),
        (None, {"target_kernel": "B30f"}, "refuse", False),
        (None, {"check_input": "warn"}, "warn", True),
        (None, {"conditioning": "sketch"}, "refuse", False),
        (None, {"spatial_dims": 2}, "off", False),
        ("low_dose", {}, "refuse", False),
        ("xray_2d", {}, "off", False),
        ("brain_t1_t2", {}, "off", False),
        ("generate", {}, "off", False),
    ],
)
def test_the_configs_check_cts_in_hu_alone(overlay, keys, action, soft):
    parser = ConfigParser()
    files = ["inference", *([overlay] if overlay else [])]
    parser.read_config([str(ROOT / "configs" / f"{name}.json") for name in files])
    parser.update(keys)
    check = parser.get_parsed_content("preparing#check")
    assert (check.action, check.soft) == (action, soft)


def test_what_opens_an_image_checks_it(tmp_path, thorax):
    """As in MONAI Label, which calls preprocessing alone; an image that is open was checked by who opened it."""
    path = tmp_path / "scan.nii"
    nibabel.Nifti1Image(np.maximum(thorax, 0), PHANTOM.affine).to_filename(path)
    load = LoadImageOrSeriesd("image", check=CheckInput())
    with pytest.raises(ImageError, match="has values from 0 up"):
        load({"image": str(path)})
    assert load({"image": open_image(path)})["image"].shape == thorax.shape
    assert LoadImageOrSeriesd("image", check=CheckInput("off"))({"image": path})["image"].shape == thorax.shape
