"""The benchmark of anatomy: each instrument on what it must measure, and its tables on small images."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from benchmarks import pairs
from benchmarks.anatomy import inserted, picture, real, scans
from benchmarks.anatomy.half_maximum import measured
from benchmarks.anatomy.objects import Ball, Rod, stamp
from benchmarks.anatomy.observer import RING, centred, hotelling, matched_filter, radii
from benchmarks.anatomy.regions import gains, patches, shifts, tissues
from benchmarks.anatomy.texture import FEATURES, concordance, features
from benchmarks.anatomy.translate import OURS, SOURCE, TRUTH
from benchmarks.inference import saved
from benchmarks.pairs import GAUSSIANS
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import create
from bundle.scanner import SHARP, SOFT, Kernel, acquire
from bundle.scanner.filters import with_border

IDEAL = Kernel(half=50.0, cutoff=100.0)
SPACING = (1.5, 1.5, 4.0)


@pytest.mark.parametrize("shape", [Ball(6.0), Ball(10.0), Rod(4.0, 9.0)])
def test_an_object_has_its_volume_whatever_the_kernel_and_lies_where_it_is_put(shape):
    for kernel in (SOFT, SHARP):
        cover = stamp(shape, (0.7, 0.8, 1.0), (45, 41, 15), (0.3, -0.2), kernel).double()
        assert float(cover.sum()) * 0.7 * 0.8 * 1.0 == pytest.approx(shape.volume, rel=0.01)
        x, y, z = (torch.arange(n) - n // 2 for n in cover.shape)
        assert float((cover.sum((1, 2)) * x).sum() / cover.sum()) * 0.7 == pytest.approx(0.3, abs=0.03)
        assert float((cover.sum((0, 2)) * y).sum() / cover.sum()) * 0.8 == pytest.approx(-0.2, abs=0.03)
        assert float((cover.sum((0, 1)) * z).sum() / cover.sum()) == pytest.approx(0, abs=1e-6)


def test_the_soft_kernel_takes_contrast_of_small_objects_only():
    """Nearly a Gaussian of 0.487 mm, which leaves 1 - exp(-R^2 / 2 sigma^2) of a disc."""
    small, large = (float(stamp(Rod(d), (0.7, 0.7, 1.0), (45, 45, 3)).max()) for d in (1.0, 10.0))
    assert small == pytest.approx(1 - math.exp(-0.5 * (0.5 / 0.487) ** 2), abs=0.02) and large > 0.98


def test_observers_find_the_theory_s_detectability():
    """White noise: both are ideal, d' = |signal| / deviation, less what the ring's noise takes.

    A filter that can be undone hardly changes the Hotelling observer; a sharp kernel hurts the matched filter.
    """
    random = np.random.default_rng(0)
    away = radii((31, 31), 1.0)
    signal = 3.0 * np.exp(-(away**2) / (2 * 1.5**2))
    noise = 5.0 * random.normal(size=(2, 4000, 31, 31))
    inside, ring = signal[away < RING[0]], ((away >= RING[0]) & (away < RING[1])).sum()
    wanted = np.linalg.norm(inside) / 5.0 / math.sqrt(1 + inside.sum() ** 2 / (inside**2).sum() / ring)
    absent, present = centred(noise[0], 1.0), centred(noise[1] + signal, 1.0)
    assert matched_filter(absent, present, 400) == pytest.approx(wanted, rel=0.06)
    assert wanted < hotelling(absent, present, 400, 1.0, 5.0) < 1.03 * np.linalg.norm(inside) / 5.0
    both = noise[0], noise[1] + signal
    smooth = [gaussian_filter(each, (0, 1.5, 1.5)) for each in both]
    sharp = [each - 0.9 * gaussian_filter(each, (0, 1.5, 1.5)) for each in both]
    of_smooth, of_sharp = ([centred(each, 1.0) for each in images] for images in (smooth, sharp))
    assert all(hotelling(*images, 400, 1.0, 5.0) > 0.85 * wanted for images in (of_smooth, of_sharp))
    assert matched_filter(*of_sharp, 400) < 0.75 * wanted < matched_filter(*of_smooth, 400)


@pytest.mark.parametrize(("inner", "wall"), [(4.0, 1.5), (6.0, 1.0)])
def test_walls_of_an_ideal_image_are_right_and_a_blur_thickens_them(inner, wall):
    pixel, side = 0.1, 241
    tube, hole = (
        stamp(Rod(d), (pixel, pixel, 1.0), (side, side, 1), (0.03, 0.02), IDEAL)[..., 0].numpy()
        for d in (inner + 2 * wall, inner)
    )
    image = -870.0 + 870.0 * tube - 1000.0 * hole
    middle = (side // 2 + 0.3, side // 2 + 0.2)
    found = measured(image, pixel, middle, inner / 2 + wall)
    assert found.area == pytest.approx(math.pi * inner**2 / 4, rel=0.02)
    assert found.thickness == pytest.approx(wall, rel=0.03)
    blurred = measured(gaussian_filter(image, 0.8 / pixel), pixel, middle, inner / 2 + wall)
    assert blurred.thickness > wall * 1.1 and blurred.area < found.area


def test_shifts_and_gains_are_those_that_were_applied():
    image = ThoraxPhantom((256, 200, 2), SPACING, noise=10)[...].astype(np.float32)
    masks = tissues(image)
    assert all(masks[name].any() for name in ("air", "lung", "soft tissue", "bone"))
    assert not (masks["lung"] & masks["soft tissue"]).any() and image[masks["bone"]].mean() > 150
    assert np.nanmax(np.abs(np.array(shifts(image + 3, image, masks)) - 3)) < 1e-3
    body = np.ones(image.shape, bool)
    assert gains(0.5 * image + 7, image, SPACING, body) == pytest.approx([0.5] * 3, abs=1e-4)


def test_squares_lie_within_their_mask():
    mask = np.zeros((10, 10, 2), bool)
    mask[2:9, 2:9, 1] = True
    found = patches(mask, 3, 1)
    assert len(found) == 25 and all(mask[x : x + 3, y : y + 3, z].all() for x, y, z in found)


def test_features_know_texture_and_concordance_is_lin_s():
    random = np.random.default_rng(0)
    flat, rough = np.full((16, 16), 40.0), 40 + 60 * random.normal(size=(16, 16))
    of_flat, of_rough = (dict(zip(FEATURES, features(each), strict=True)) for each in (flat, rough))
    assert of_flat["mean"] == 40 and of_flat["entropy"] == 0 and of_flat["contrast"] == 0 and of_flat["ASM"] == 1
    assert of_rough["entropy"] > 3 and of_rough["deviation"] == pytest.approx(60, rel=0.1)
    assert features(gaussian_filter(rough, 1))[FEATURES.index("contrast")] < of_rough["contrast"] / 4
    one = np.array([[1.0], [2.0], [3.0]])
    assert concordance(one, one) == pytest.approx([1.0])
    assert concordance(one, one + 1) == pytest.approx([2 * (2 / 3) / (2 * (2 / 3) + 1)])
    assert concordance(one, -one)[0] < 0 and np.isnan(concordance(0 * one, 0 * one)).all()


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A thorax without small vessels' noise, as a soft CT."""
    folder = tmp_path_factory.mktemp("ct")
    voxels = torch.from_numpy(ThoraxPhantom((208, 168, 9), (1.5, 1.5, 4.0), noise=8)[...].astype(np.float32))
    with create(folder / "soft.nii", tuple(voxels.shape), np.diag([*SPACING, 1.0])) as append:
        append(voxels)
    return folder / "soft.nii"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(scans, "VESSEL", -500.0)
    monkeypatch.setattr(inserted, "SEEDS", (0,))
    for name, size in (("NODULES", 5.0), ("VESSELS", 1.0), ("AIRWAYS", (6.0, 1.5))):
        monkeypatch.setattr(inserted, name, (size,))


def tables(printed):
    """The rows of each table, by title."""
    found, title = {}, ""
    for line in printed.splitlines():
        if line.startswith("| ") and not line.startswith("| method"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[title][name] = [float(cell) for cell in cells]
        elif line and not line.startswith("|"):
            title = line
            found[title] = {}
    return {title: rows for title, rows in found.items() if rows}


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_inserted_objects_are_measured_in_every_image(phantom, capsys):
    for name in ("nodules", "vessels", "airways", "tissue"):
        inserted.run(name, str(phantom))
    found = tables(capsys.readouterr().out)
    assert len(found) == 10
    contrast = next(rows for title, rows in found.items() if "nodule of +800" in title and "Contrast" in title)
    assert len(contrast) == 9 and contrast[OURS][0] == pytest.approx(contrast[TRUTH][0], abs=15)
    assert contrast["Gaussian of 1.4 px"][0] < contrast["Gaussian of 1 px"][0] < contrast["Gaussian of 0.7 px"][0] < 100
    vessel = next(rows for title, rows in found.items() if "vessel of" in title)
    assert vessel["Gaussian of 1.4 px"][0] < vessel["Gaussian of 0.6 px"][0] < vessel[SOURCE][0]
    assert vessel[TRUTH][0] < vessel[SOURCE][0]
    mass = next(rows for title, rows in found.items() if "Mass" in title)
    assert mass[TRUTH][-1] == pytest.approx(100, abs=3) and mass[OURS][-1] == pytest.approx(100, abs=15)
    detail = next(rows for title, rows in found.items() if "Gain of detail" in title)
    assert detail[TRUTH] == [1, 1, 1] and detail[SOURCE][1] > 1


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_picture_has_all_images(phantom, tmp_path):
    picture.main(str(phantom), str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_scan_without_lungs_is_told(tmp_path, capsys):
    with create(tmp_path / "no.nii", (64, 64, 9), np.diag([*SPACING, 1.0])) as append:
        append(torch.full((64, 64, 9), 30.0))
    inserted.run("vessels", str(tmp_path / "no.nii"))
    assert "skipped: no.nii has fewer than 4 places" in capsys.readouterr().out


@pytest.mark.slow
def test_a_pair_has_a_row_for_each_method_and_calibration_is_nearest(tmp_path, monkeypatch, capsys):
    """Two reconstructions of one simulated acquisition stand in for a real pair."""
    voxels = torch.from_numpy(ThoraxPhantom((208, 168, 4), (1.5, 1.5, 4.0))[...].astype(np.float32))
    for name, image in zip(
        ("soft", "sharp"), acquire(with_border(voxels), SPACING, (SOFT, SHARP), 60.0, 0), strict=True
    ):
        saved(image, SPACING, tmp_path / f"{name}.nii.gz")
    monkeypatch.setattr(pairs, "PAIRS", [("one", "sharp", "soft"), ("other", "nothing", "here")])
    monkeypatch.setattr(real, "MOST", 30)
    real.main(str(tmp_path))
    printed = capsys.readouterr().out
    assert "skipped: other: " in printed
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1]
        for line in printed.split("CCC in")[0].splitlines()
        if line.startswith("| ")
    }
    soft = {name: float(cells[-1]) for name, cells in rows.items() if name != "method"}
    ours = {f"{OURS}, default", f"{OURS}, calibrated elsewhere", "calibrated elsewhere, without networks"}
    assert set(soft) >= ours | {SOURCE, *(f"Gaussian of {sigma:g} px" for sigma in GAUSSIANS)}
    assert soft[f"{OURS}, calibrated elsewhere"] > max(soft[SOURCE], soft["Gaussian of 1.4 px"])
    assert f"| {FEATURES[0]} |" in printed and "share above .85" in printed
