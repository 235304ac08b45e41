"""The interval of lung density: narrow where the kernels are sure, wider where not, with the truth in it."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bundle.images import Volume, held
from bundle.scanner import SHARP, SOFT, Conversion, Transfer, acquire, converted
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.gains import quotient
from bundle.scanner.transfer import sampled
from bundle.scanner.uncertainty import fit_uncertainty, known_uncertainty, uncertainty
from bundle.transforms import Densitometry
from bundle.transforms.densitometry import END, as_text, measured
from bundle.transforms.density_interval import LEVEL, MEASURES, SHARE, density_interval, deviations, measures, reach
from bundle.transforms.lung_density import RANGE, counted, histograms
from bundle.transforms.lung_mask import LEFT, RIGHT
from tests.transforms.test_densitometry import SPACING as COARSE
from tests.transforms.test_densitometry import chest, volume

SPACING, SIDE, DEPTH, BORDER = (0.7, 0.7, 2.0), 96, 10, 12
SURE, UNSURE = (0.0,) * len(KNOTS), (0.0, *(0.4,) * (len(KNOTS) - 1))
SIDES = np.zeros((SIDE // 2, SIDE // 2, DEPTH // 2), np.uint8)
SIDES[4:22, 4:44], SIDES[26:44, 4:44] = LEFT, RIGHT
FACTOR = (2, 2, 2)


def kernel(true, off):
    """A kernel whose gain is off by a share, the same at all frequencies but the lowest."""
    gains = np.asarray(sampled(true, KNOTS)) * (1 + off * np.minimum(np.asarray(KNOTS) / 0.12, 1))
    return Transfer(KNOTS, (1.0, *gains[1:].tolist()))


@pytest.fixture(scope="module")
def scan():
    """A lung of -880 HU with emphysema here and there, as a scanner shows it with both kernels."""
    noise = np.random.default_rng(0).normal(size=(SIDE + 2 * BORDER, SIDE + 2 * BORDER, DEPTH))
    blobs = gaussian_filter(noise, (4, 4, 1))
    lung = torch.from_numpy(-880 - 60 * (blobs / blobs.std() > 1.2)).float()
    return acquire(lung, SPACING, (SOFT, SHARP), 40.0, torch.Generator().manual_seed(1))


def interval(scan, off, relative, step=DEPTH):
    """The truth of both lungs, and their interval after a conversion whose source kernel is off."""
    soft, sharp = scan
    result = converted(sharp, SPACING, Conversion(quotient(kernel(SOFT, 0), kernel(SHARP, off))))
    images = [Volume(held(each.numpy(), np.diag([*SPACING, 1.0]), "a.nii")) for each in (sharp, result, soft)]
    before, after, truth = (histograms(each, SIDES, FACTOR, step) for each in images)
    found = density_interval(images[1], SIDES, FACTOR, relative, before, after)
    return measures(truth["both"]), found["both"], measures(after["both"])


def widths(found):
    return np.array([found[key][1] - found[key][0] for key in MEASURES])


def within(truth, found):
    return [found[key][0] <= value <= found[key][1] for key, value in zip(MEASURES, truth, strict=True)]


def test_sure_kernels_give_a_narrow_interval_with_the_truth(scan):
    truth, found, after = interval(scan, 0.0, SURE)
    change = np.abs(after - measures(counted(scan[1].numpy().ravel())))
    assert all(within(truth, found))
    assert (widths(found) < np.array([0.35, 0.6]) * change).all()


@pytest.mark.parametrize(("off", "missed"), [(-0.3, False), (0.5, True)])
def test_a_kernel_that_is_off_is_covered_if_that_is_told(scan, off, missed):
    truth, found, _ = interval(scan, off, UNSURE)
    assert all(within(truth, found))
    _, sure, _ = interval(scan, off, SURE)
    assert within(truth, sure)[0] != missed
    assert (widths(found) > 1.3 * widths(sure)).all()


def test_the_interval_grows_with_the_uncertainty(scan):
    found = [widths(interval(scan, 0.0, [share * each for each in UNSURE])[1]) for share in (0, 0.25, 0.5, 1)]
    assert (np.diff(found, axis=0) > 0).all()


def test_slabs_make_no_difference(scan):
    assert interval(scan, 0.1, UNSURE, 1)[1:][0] == interval(scan, 0.1, UNSURE, 4)[1:][0]
    told = {"uncertainty": list(UNSURE)}
    found = [measured(volume(chest(value=-900)), volume(chest()), thickness, told) for thickness in (1, 7, None)]
    assert found[0] == found[1] == found[2] and found[0]["no_interval"] is None
    right = found[0]["interval_95"]["right"]
    assert right["laa950_percent"][0] == 0 and right["perc15_hu"][0] < -860 < right["perc15_hu"][1]


def test_a_shift_follows_parts_of_a_hu():
    count = counted(np.concatenate([np.full(30, -960.0), np.full(70, -850.0)]))
    assert measures(count) == pytest.approx([30, -960], abs=0.51)
    count = counted(np.linspace(-1000, -900, 100001))
    for shift in (-1.5, 0.25, 2.0):
        assert measures(count, shift) - measures(count) == pytest.approx([-shift, shift], abs=0.05)


def test_what_is_sure_and_unchanged_has_the_levels_alone():
    count = counted(np.linspace(-1000, -900, 100001))
    kernels, levels, model = deviations(count, count, np.zeros((3, len(count))))
    assert not kernels.any() and not model.any()
    assert levels == pytest.approx(np.array([[-LEVEL, LEVEL], [LEVEL, -LEVEL]]), abs=0.05)
    model = deviations(counted(np.linspace(-1000, -950, 100001) - 10), count, np.zeros((3, len(count))))[2]
    assert model == pytest.approx(np.outer([1, -1], SHARE * (50, 17.5)), rel=0.05)


def test_independent_shifts_add_as_squares():
    shifts = np.zeros((2, 2, 1))
    shifts[0, :, 0], shifts[1, :, 0] = (3, -1), (4, 4)
    assert reach(shifts).ravel().tolist() == [-1, 5]


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (None, "no kernel was converted"),
        ({"uncertainty": None}, "it is not known how sure the kernels are"),
        ({}, "it is not known how sure the kernels are"),
        ({"uncertainty": [0.1] * 40}, "it is not known how sure the kernels are"),
        ({"uncertainty": [float("nan")] * 41}, "it is not known how sure the kernels are"),
        ({"uncertainty": [1e9] * 41}, "it is not known how sure the kernels are"),
        ({"uncertainty": "0" * 41}, "it is not known how sure the kernels are"),
        ("kernel", "no kernel was converted"),
    ],
)
def test_without_known_kernels_there_is_none_and_a_reason(kernel, reason):
    found = measured(volume(chest()), volume(chest()), kernel=kernel)
    assert found["interval_95"] is None and found["no_interval"].startswith(reason)
    assert f"no interval: {reason}" in as_text(found)


def test_without_lungs_there_is_none():
    water = np.full((80, 60, 24), 40, np.int16)
    found = measured(volume(water), volume(water), kernel={"uncertainty": list(SURE)})
    assert found["interval_95"] is None and found["no_interval"] == "no lung was found"


def test_it_is_written_and_printed(tmp_path, capsys):
    import nibabel

    for name in ("scan.nii", "soft.nii"):
        nibabel.Nifti1Image(chest(), np.diag([*COARSE, 1.0])).to_filename(tmp_path / name)
    Densitometry()(tmp_path / "scan.nii", tmp_path / "soft.nii", kernel={"uncertainty": list(UNSURE)})
    found = json.loads((tmp_path / f"soft.nii{END}").read_text(encoding="utf-8"))
    assert set(found["interval_95"]) == {"left", "right", "both"} and found["no_interval"] is None
    printed = capsys.readouterr().out
    for end, k in (("95 % from", 0), ("95 % to", 1)):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"both, {end} ")]
        limits = [found["interval_95"]["both"][key][k] for key in MEASURES]
        assert line.split()[-2:] == [f"{limits[0]:.2f}", f"{limits[1]:.0f}"]


def test_deviations_of_found_kernels_have_a_floor_and_those_of_a_fit_none():
    knots, gains = (0.0, 0.4, 0.8), (1.0, 0.5, 0.1)
    heard = Transfer(knots, gains)
    oblique = Transfer(knots, gains, (0.0, 0.01, 0.002))
    upright = Transfer(knots, gains, (0.0, 0.01, 0.002), upright=True)
    assert fit_uncertainty(upright)[10] == pytest.approx(0.02) and fit_uncertainty(heard) is None
    one, two = uncertainty(upright)[10], uncertainty(upright, upright)[10]
    assert one > 0.1 and two == pytest.approx(one * 2**0.5, rel=0.01)
    assert uncertainty(heard)[10] > uncertainty(oblique)[10] > one
    for each in (uncertainty(upright), uncertainty(heard, heard), fit_uncertainty(upright)):
        assert len(each) == len(KNOTS) and each[0] == 0 and known_uncertainty(list(each)) == each


def test_counts_end_at_the_range():
    assert np.flatnonzero(counted(np.array([-5000.0, 9000.0]))).tolist() == [0, RANGE[1] - RANGE[0]]
