"""A conversion is calibrated on two reconstructions of one acquisition, and on nothing else."""

import nibabel
import numpy as np
import pytest

from bundle.evaluation.calibrating import Calibrating
from bundle.scanner import SHARP, SOFT
from bundle.scanner.kernels import read_kernels
from tests.scanner.test_edge_spread import SPACING, cylinder


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
