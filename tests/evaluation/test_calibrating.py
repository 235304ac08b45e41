"""A conversion is calibrated on two reconstructions of one acquisition, and on nothing else."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from bundle.evaluation.calibrating import Calibrating
from bundle.evaluation.cases import check_one_acquisition
from bundle.images import Volume
from bundle.scanner import SHARP, SOFT, Conversion, Kernel, Transfer, converted
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.gains import quotient
from bundle.scanner.kernels import read_kernels
from bundle.transforms import KernelChoice
from tests.dicom_series import write_series
from tests.scanner.test_edge_spread import SPACING, F, cylinder


@pytest.fixture(scope="module")
def pair():
    """Both have the same noise before the kernel."""
    return [cylinder(kernel, slices=3, size=192, arm=True).numpy().astype(np.int16) for kernel in (SHARP, SOFT)]


def saved(folder, source, target):
    """The paths of both scans, which are named after a patient, and of the results."""
    paths = folder / "Doe_John_sharp.nii", folder / "Doe_John_soft.nii"
    for path, voxels in zip(paths, (source, target), strict=True):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*SPACING, 1])), path)
    return *paths, folder / "out"


def calibrate(folder, source, target, **keys):
    return Calibrating(*saved(folder, source, target), **keys).run()


def test_a_pair_gives_a_conversion_that_can_be_read(tmp_path, pair, capsys):
    found = calibrate(tmp_path, *pair)
    kernels = read_kernels(tmp_path / "out" / "kernels.json")
    assert [kernel.name for kernel in kernels.kernels] == ["sharp", "soft"]
    ((source, target, read),), ((_, _, fitted),) = kernels.conversions, found.conversions
    assert (source, target) == ("sharp", "soft") and read.filter.gains == pytest.approx(fitted.filter.gains, abs=1e-4)
    assert "first half by the other: SSIM" in capsys.readouterr().out
    assert (tmp_path / "out" / "calibration.png").exists()
    for path in (tmp_path / "out").iterdir():
        assert b"Doe" not in path.read_bytes()


def test_names_are_the_header_s_or_as_typed(tmp_path, pair, monkeypatch):
    """A number is a name too, as Hitachi's kernels have them; without either, "sharp" and "soft"."""
    calibrating = Calibrating(*saved(tmp_path, *pair))
    scans = [Volume(path) for path in (calibrating.source, calibrating.target)]
    assert calibrating._names(*scans) == (["sharp", "soft"], "")
    scans[0].image.meta.update(convolution_kernel="B70f\\3")
    scans[1].image.meta.update(convolution_kernel="B30f", manufacturer="SIEMENS")
    assert calibrating._names(*scans) == (["B70f", "B30f"], "SIEMENS")
    words = ["--calibration#source_name", "31", "--calibration#target_name=05", "--calibration#manufacturer", "1e5"]
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", *words])
    typed = replace(calibrating, source_name=31, target_name="05", manufacturer=1e5)
    assert typed._names(*scans) == (["31", "05"], "1e5")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("B30f", "b30F"), "have kernels of one name, 'B30f'; give each its own by calibration#source_name and"),
        (("a\nb", "soft"), r"source_name 'a\\nb' is not printable text of at most 500 characters; give another as"),
        (("sharp", "x" * 501), "target_name 'x*' is not printable text of at most 500"),
    ],
)
def test_names_that_tell_nothing_apart_are_refused(tmp_path, pair, names, told):
    with pytest.raises(ValueError, match=told):
        calibrate(tmp_path, *pair, source_name=names[0], target_name=names[1])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["kernels.json", "calibration.png"])
def test_a_file_of_somebody_else_is_kept(tmp_path, pair, name):
    *scans, out = saved(tmp_path, *pair)
    out.mkdir()
    (out / name).write_text("my own notes")
    with pytest.raises(FileExistsError, match=rf"{name}' of .* calibration#overwrite to 'all'"):
        Calibrating(*scans, out).run()
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "my own notes")]


def test_the_same_pair_replaces_its_calibration_and_no_other_does(tmp_path, pair, monkeypatch):
    fitted = Conversion(quotient(SOFT, SHARP), (-1000.0, 0.0), (0.0, 0.0))  # what is fitted is not looked at
    for name, found in (("calibrate", fitted), ("find_transfer", None), ("_score", [0.0] * 4), ("flat_places", [])):
        monkeypatch.setattr(f"bundle.evaluation.calibrating.{name}", lambda *_, found=found, **__: found)
    *scans, out = saved(tmp_path, *pair)
    Calibrating(*scans, out).run()
    Calibrating(*scans, out, target_name="B30f").run()
    written = (out / "kernels.json").read_text()
    assert "B30f" in written
    other = [folder / path.name for folder, path in zip((tmp_path, tmp_path / "b"), scans, strict=True)]
    (tmp_path / "b").mkdir()
    nibabel.save(nibabel.Nifti1Image(pair[1] + 1, np.diag([*SPACING, 1])), other[1])
    with pytest.raises(FileExistsError, match="was calibrated on another target than"):
        Calibrating(*other, out).run()
    (out / "kernels.json").write_text(written.replace("B30f", "own name"))
    with pytest.raises(FileExistsError, match="is not known as this bundle's own"):
        Calibrating(*scans, out).run()
    assert "own name" in (out / "kernels.json").read_text()
    Calibrating(*scans, out, overwrite="all").run()
    assert "own name" not in (out / "kernels.json").read_text()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda sharp, soft: (soft, sharp), "the source is the softer one"),
        (lambda sharp, soft: (sharp, soft[:, ::-1].copy()), "in common"),
        (lambda sharp, soft: (sharp, np.full_like(soft, 40)), "in common"),
        (lambda sharp, soft: (sharp, np.roll(soft, 1, 0)), r"shifted by [01]\.\d+ pixels"),
        (lambda sharp, soft: (sharp, soft + 200), "differ by .* HU at one level"),
        (lambda sharp, soft: (sharp, soft[:-1]), "are not of one grid"),
        (lambda sharp, _: (sharp, sharp), r"source '.*_sharp\.nii' and target '.*_soft\.nii' are the same image; give"),
    ],
)
@pytest.mark.filterwarnings("ignore:image .*soft.nii")
def test_what_is_no_pair_is_refused(tmp_path, pair, change, match):
    with pytest.raises(ValueError, match=match):
        calibrate(tmp_path, *change(*pair))
    assert not (tmp_path / "out").exists()


def test_a_slice_is_read_once_to_be_compared(tmp_path, pair, monkeypatch):
    scans, read, slab = [Volume(path) for path in saved(tmp_path, *pair)[:2]], [], Volume.slab
    monkeypatch.setattr(Volume, "slab", lambda self, *ends: read.append((self.path.name, *ends)) or slab(self, *ends))
    check_one_acquisition(*scans, (0, 1, 2))
    assert len(read) == len(set(read)) == 6


def test_two_series_of_one_folder_are_chosen(tmp_path):
    """Refused by the key of each; with both chosen, only because their headers name one kernel."""
    for uid in ("1.2.3.1", "1.2.3.2"):
        write_series(tmp_path / "both", np.zeros((32, 32, 3), np.int16) + int(uid[-1]), series=uid, edit=_named)
    one = Calibrating(tmp_path / "both", tmp_path / "both", tmp_path / "out", source_series_uid="1.2.3.1")
    with pytest.raises(ValueError, match="Choose one by calibration#target_series_uid"):
        one.run()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="have kernels of one name, 'B30f'"):
        replace(one, target_series_uid="1.2.3.2").run()


def _named(header, **_):
    header.ConvolutionKernel = "B30f"


def test_a_kernel_that_enhances_is_measured_on_one_scan_and_made_of_another(tmp_path):
    """As B30f does below 0.12 cycles/mm, which skin and noise do not show; the other scan has another kernel."""
    knots = np.asarray(KNOTS)
    bump = 1 + 0.08 * (knots / 0.08) ** 2 * np.exp(1 - (knots / 0.08) ** 2)
    other = Kernel(0.6, 3.0, 0.2, 0.4)

    def enhanced(scan, kernel):
        gains = np.asarray(quotient(SOFT, kernel).gains) * bump
        return converted(scan, SPACING, Conversion(Transfer(KNOTS, tuple(gains.tolist()))))

    sharp = cylinder(SHARP, slices=3, dose=60.0)
    found = calibrate(tmp_path, *(each.round().numpy().astype(np.int16) for each in (sharp, enhanced(sharp, SHARP))))
    soft = found.kernels[1].transfer(F) / SOFT.transfer(F)
    assert 1.04 < soft[1] < 1.12 and soft[0] > 1.01
    scan = cylinder(other, slices=3, dose=60.0, seed=1)
    chosen = KernelChoice(target_kernel=str(tmp_path / "out" / "kernels.json"))(scan, SPACING).conversion
    limited = Conversion(replace(chosen.filter, gains=tuple(min(gain, 1.0) for gain in chosen.filter.gains)))
    body, wanted = (slice(60, 190), slice(80, 170)), enhanced(scan, other)
    error, before = ((converted(scan, SPACING, each) - wanted)[body].abs().mean() for each in (chosen, limited))
    assert error < 0.6 * before
