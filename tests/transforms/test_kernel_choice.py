"""Which kernel a CT is converted from, and to which."""

import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from bundle.evaluation.calibrating import Calibrating
from bundle.scanner import SHARP, SOFT, Conversion, Kernel
from bundle.scanner.kernels import read_kernels
from bundle.transforms import KernelChoice, MatchKerneld
from tests.scanner.test_edge_spread import SPACING, F, cylinder

AFFINE = np.diag([*SPACING, 1.0])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Paths of a sharp and a soft scan of one cylinder."""
    folder = tmp_path_factory.mktemp("scans")
    for name, kernel in (("sharp", SHARP), ("soft", SOFT)):
        nibabel.save(nibabel.Nifti1Image(cylinder(kernel).numpy().astype(np.int16), AFFINE), folder / f"{name}.nii")
    return folder


def test_without_keys_the_kernel_is_found_by_noise():
    chosen = KernelChoice()(cylinder(SHARP), SPACING)
    assert isinstance(chosen.conversion, Kernel) and 0.2 < chosen.noted()["uncertainty"][10] < 0.3


def test_without_keys_the_header_counts_where_nothing_is_found(capsys):
    """To the soft kernel, without sharpening; where a kernel is found, a header that differs is warned of."""
    header = {"convolution_kernel": "B70f\\3", "manufacturer": "SIEMENS"}
    chosen = KernelChoice()(torch.zeros(64, 64, 1), SPACING, header)
    assert isinstance(chosen.conversion, Conversion)
    gains = chosen.conversion.filter.transfer(F)
    named = read_kernels().find("B70f")
    assert gains.max() <= 1
    wanted = (SOFT.transfer(F) / named.transfer(F)).clamp(max=1.0)
    assert (gains - wanted)[F < 0.6].abs().max() < 0.01
    assert chosen.source == "B70f"
    assert "from B70f" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="the header names the kernel 'B10f'"):
        assert isinstance(KernelChoice()(cylinder(SHARP), SPACING, {"convolution_kernel": "B10f"}).conversion, Kernel)
    unknown = KernelChoice()(torch.zeros(64, 64, 1), SPACING, {"convolution_kernel": "unknown"})
    assert unknown.conversion is None and unknown.noted()["uncertainty"] is None


def test_an_unpaired_reference_is_the_target(scans):
    """The converted scan has the kernel of the reference, of another noise and another place."""
    found = KernelChoice(target_kernel=str(scans / "soft.nii"))(cylinder(SHARP, seed=5), SPACING).conversion
    assert isinstance(found, Conversion)
    wanted = SOFT.transfer(F) / SHARP.transfer(F)
    assert (found.filter.transfer(F) / wanted - 1).abs().max() < 0.1


def test_skin_that_moved_is_warned_of():
    """It is softer than the noise says, so the kernel is as uncertain as by noise alone."""
    scan = cylinder(SHARP, slices=2)
    x, y = (torch.arange(side) - side / 2 for side in scan.shape[:2])
    rim = (torch.hypot(x[:, None] - 3.3, 1.3 * (y[None] + 1.7))[..., None] - 85).abs() < 12
    moved = torch.where(rim, torch.from_numpy(gaussian_filter(scan.numpy(), (1.2, 1.2, 0))), scan)
    with pytest.warns(UserWarning, match="skin and noise show different kernels"):
        chosen = KernelChoice()(moved, SPACING)
    assert isinstance(chosen.conversion, Kernel) and chosen.uncertainty[10] > 0.5


def test_a_reference_that_is_no_ct_in_hu_is_refused(scans, tmp_path):
    image = nibabel.load(scans / "soft.nii")
    nibabel.save(nibabel.Nifti1Image(image.get_fdata().astype(np.int16) + 1024, AFFINE), tmp_path / "stored.nii")
    with pytest.raises(ValueError, match=r"its image 'stored.nii' has values from .* or name a kernel"):
        KernelChoice(target_kernel=str(tmp_path / "stored.nii"))(cylinder(SHARP, slices=2), SPACING)


def test_a_name_of_the_catalogue_wins_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "B30f").mkdir()
    by_name = KernelChoice("B70f", "B30f")(torch.zeros(64, 64, 1), SPACING)
    assert (by_name.source, by_name.target) == ("B70f", "B30f")
    with pytest.raises(FileNotFoundError, match="holds no image"):
        KernelChoice("B70f", "./B30f")(torch.zeros(64, 64, 1), SPACING)


def test_a_target_that_is_sharper_is_refused(scans):
    sharp = str(scans / "sharp.nii")
    with pytest.raises(ValueError, match="sharper than the image's kernel"):
        KernelChoice(target_kernel=sharp)(cylinder(SOFT), SPACING)
    found = KernelChoice(target_kernel=sharp, allow_sharper=True)(cylinder(SOFT), SPACING).conversion
    assert found.filter.transfer(F).max() > 1.5


def test_names_take_the_calibrated_conversion():
    found = KernelChoice("B70f", "B30f")(cylinder(SHARP), SPACING).conversion
    assert found == read_kernels().conversion("B70f", "B30f")


def test_the_header_names_the_source(capsys):
    meta = {"convolution_kernel": "B50f", "manufacturer": "SIEMENS"}
    image = torch.zeros(64, 64, 1)  # nothing can be found in it
    assert KernelChoice(target_kernel="B30f")(image, SPACING, meta).conversion == read_kernels().conversion(
        "B50f", "B30f"
    )
    assert "from B50f" in capsys.readouterr().out


def test_a_header_that_disagrees_with_the_image_is_warned_of():
    with pytest.warns(UserWarning, match="the header names the kernel 'B70f'"):
        KernelChoice(target_kernel="B10f")(cylinder(SOFT), SPACING, {"convolution_kernel": "B70f"})


def test_a_target_needs_a_known_kernel():
    told = (
        "target_kernel 'B30f' cannot be reached: the kernel of the image is not known, .*; name it by source_kernel, or"
    )
    with pytest.raises(ValueError, match=told):
        KernelChoice(target_kernel="B30f")(torch.zeros(64, 64, 1), SPACING)


@pytest.mark.parametrize("key", ["source_kernel", "target_kernel"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"version": 2}, r"kernel file '.*bad\.json' cannot be read: its version is not 1"),
        ({"version": 1}, "holds no conversion"),
        (
            {"version": 1, "conversions": [{"from": "a", "to": "b", "knots": [0, 1], "gains": [1, 1]}]},
            "has no kernel '[ab]'",
        ),
    ],
)
def test_a_broken_file_is_refused_before_any_image(tmp_path, key, content, told):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        KernelChoice(**{key: str(tmp_path / "bad.json")})


def test_values_are_taken_as_typed(tmp_path, monkeypatch):
    """A folder may be called 1001, and a program may give a path."""
    monkeypatch.chdir(tmp_path)
    for name in ("1001", "1.50"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--target_kernel", "1.50"])
    choice = KernelChoice(1001, 1.5)
    assert (choice.source_kernel, choice.target_kernel) == ("1001", "1.50")
    assert KernelChoice("", tmp_path).target_kernel == str(tmp_path)
    assert KernelChoice("", "1001").settings() == KernelChoice(None, tmp_path / "1001").settings()


def test_a_broken_catalogue_is_refused_also_where_no_kernel_is_named(tmp_path):
    (tmp_path / "kernels.json").write_text('{"version": 2}')
    with pytest.raises(ValueError, match="cannot be read: its version is not 1"):
        KernelChoice(catalogue=str(tmp_path / "kernels.json"))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"source_kernel 'B99z' is neither a file or folder nor in the catalogue .*B30f"
    ):
        KernelChoice("B99z")


def test_a_calibration_is_written_and_carried_out(scans, tmp_path, capsys):
    Calibrating(scans / "sharp.nii", scans / "soft.nii", tmp_path).run()
    out = capsys.readouterr().out
    assert "first half by the other: SSIM" in out and (tmp_path / "calibration.png").stat().st_size
    path = str(tmp_path / "kernels.json")
    choice = KernelChoice(path, path)
    sharp, soft = cylinder(SHARP), cylinder(SOFT)
    image = MetaTensor(sharp[None], affine=torch.from_numpy(AFFINE))
    shown = MatchKerneld("image", choice=choice)({"image": image})["image"]
    inner = (slice(100, 150),) * 2
    before, after = ((each[inner] - soft[inner]).abs().mean() for each in (sharp, shown[0]))
    assert after < 0.25 * before
    assert choice.settings()[0] == choice.settings()[1] != path  # its contents
    assert 0 < max(choice(sharp, SPACING).uncertainty[:11]) < 0.05


def test_a_calibration_needs_one_grid(scans, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 30, 2), np.int16), AFFINE), tmp_path / "other.nii")
    with pytest.raises(ValueError, match="not of one grid"):
        Calibrating(scans / "sharp.nii", tmp_path / "other.nii", tmp_path).run()
    with pytest.raises(ValueError, match="needs --source SHARP and --target SOFT"):
        Calibrating(None, None, tmp_path).run()


def test_slices_and_the_whole_volume_are_converted_alike():
    conversion = read_kernels().conversion("B70f", "B30f")
    image, key = cylinder(SHARP), {"kernel": conversion}
    transform = MatchKerneld("image")

    def made(voxels):
        return transform({**key, "image": MetaTensor(voxels[None], affine=torch.from_numpy(AFFINE))})["image"][0]

    parts = torch.cat([made(image[..., z : z + 1]) for z in range(image.shape[2])], -1)
    torch.testing.assert_close(parts, made(image), atol=1e-3, rtol=0)  # HU; libraries add in another order
