"""A conversion is calibrated on two reconstructions of one acquisition, and on nothing else."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from bundle.evaluation.calibrating import Calibrating
from bundle.scanner import SHARP, SOFT, Conversion, Kernel, Transfer, converted
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernels import quotient, read_kernels
from bundle.transforms import KernelChoice
from tests.scanner.test_edge_spread import SPACING, F, cylinder


@pytest.fixture(scope="module")
def pair():
    """Both have the same noise before the kernel."""
    return [cylinder(kernel, slices=3, size=192, arm=True).numpy().astype(np.int16) for kernel in (SHARP, SOFT)]


def calibrate(folder, source, target):
    for name, voxels in (("sharp", source), ("soft", target)):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*SPACING, 1])), folder / f"{name}.nii")
    return Calibrating(folder / "sharp.nii", folder / "soft.nii", folder / "out").run()


def test_a_pair_gives_a_conversion_that_can_be_read(tmp_path, pair, capsys):
    found = calibrate(tmp_path, *pair)
    kernels = read_kernels(tmp_path / "out" / "kernels.json")
    assert [kernel.name for kernel in kernels.kernels] == ["sharp", "soft"]
    ((source, target, read),), ((_, _, fitted),) = kernels.conversions, found.conversions
    assert (source, target) == ("sharp", "soft") and read.filter.gains == pytest.approx(fitted.filter.gains, abs=1e-4)
    assert "first half by the other: SSIM" in capsys.readouterr().out
    assert (tmp_path / "out" / "calibration.png").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda sharp, soft: (soft, sharp), "the source is the softer one"),
        (lambda sharp, soft: (sharp, soft[:, ::-1].copy()), "in common"),
        (lambda sharp, soft: (sharp, np.full_like(soft, 40)), "in common"),
        (lambda sharp, soft: (sharp, np.roll(soft, 1, 0)), r"shifted by [01]\.\d+ pixels"),
        (lambda sharp, soft: (sharp, soft + 200), "differ by .* HU at one level"),
        (lambda sharp, soft: (sharp, soft[:-1]), "are not of one grid"),
        (lambda sharp, _: (sharp, sharp), r"source '.*sharp\.nii' and target '.*soft\.nii' are the same image; give"),
    ],
)
@pytest.mark.filterwarnings("ignore:image .*soft.nii")
def test_what_is_no_pair_is_refused(tmp_path, pair, change, match):
    with pytest.raises(ValueError, match=match):
        calibrate(tmp_path, *change(*pair))
    assert not (tmp_path / "out").exists()


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
