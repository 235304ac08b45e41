"""A simulated phantom is what pylinac takes for a real one, and quality assurance says what a translation does to it.

`make test-qa` brings pylinac, in an environment of its own; elsewhere what needs it is skipped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from apps.qa import compare, environment, figure
from apps.qa.__main__ import WRITTEN, main
from apps.qa.measured import PERCENT, Measured
from apps.qa.phantom import AIR, Bar, Disk
from apps.qa.phantoms import PHANTOMS, acr464
from apps.qa.simulate import reconstruct, simulate
from bundle.images.reader import load_image
from bundle.scanner import SHARP, SOFT

ROOT = Path(__file__).parents[2]
CATPHAN = PHANTOMS["catphan504"]()
#: HU of the inserts as pylinac knows them.
NOMINAL = {"Air": -1000, "PMP": -196, "LDPE": -104, "Poly": -47, "Acrylic": 115, "Delrin": 365, "Teflon": 1000}


def has_pylinac() -> bool:
    try:
        environment.python()
    except FileNotFoundError:
        return False
    return True


with_pylinac = pytest.mark.skipif(not has_pylinac(), reason="pylinac's environment is missing: make test-qa")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)


def judge(before: str, after: str, output: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    """The command's end, and what it wrote."""
    done = run(*environment.command(before, after, "--output", str(output), *options))
    path = output / "qa.json"
    return done, json.loads(path.read_text()) if path.exists() else {}


def mean(series: dict, group: str, name: str) -> float:
    return float(np.mean(series[group][name]))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A CatPhan of 1 mm pixels, sharp and soft."""
    return simulate(str(tmp_path_factory.mktemp("small")), size=256, dose=400)


def edited(folder: str, to: Path, change) -> str:
    """A copy of a series, each slice changed."""
    to.mkdir()
    for path in sorted(Path(folder).iterdir()):
        ds = pydicom.dcmread(path)
        values = ds.pixel_array.astype(int) + int(ds.RescaleIntercept)
        values = change(values, float(ds.ImagePositionPatient[2]))
        ds.PixelData = np.clip(values - int(ds.RescaleIntercept), 0, 4095).astype("<u2").tobytes()
        ds.save_as(to / path.name)
    return str(to)


# The phantom.


@pytest.mark.parametrize("angle", [0, 30, 90, 200])
def test_a_disk_and_a_bar_fill_their_area_where_they_lie(angle):
    axis = np.arange(-30, 30, 0.25)
    x, y = axis[None] - 10 * math.cos(math.radians(angle)), axis[:, None] - 10 * math.sin(math.radians(angle))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    disk = Disk(angle, 10, 3, 0).share(u, v, 0, 2.5, 0.25)
    bar = Bar(angle, 10, 1.5, 8, 0.8, 0).share(u, v, 0, 2.5, 0.25)
    assert disk.sum() * 0.25**2 == pytest.approx(math.pi * 9, rel=0.01)
    assert bar.sum() * 0.25**2 == pytest.approx(8 * 0.8, rel=0.02)
    assert (u[disk > 0.5] ** 2 + v[disk > 0.5] ** 2 <= 3.2**2).all() and abs(v[bar > 0.5] - 1.5).max() <= 0.55


def test_a_bar_fills_the_part_of_a_slice_that_it_has_along_z():
    bar = Bar(0, 47, 0, 8, 5, 2000, middle=30, depth=2)
    inside = [float(bar.share(np.zeros(1), np.zeros(1), z, 2.5, 0.1)[0]) for z in (30, 31.25, 33)]
    assert inside == pytest.approx([0.8, 0.4, 0.0])


def test_a_ramp_moves_with_z_and_is_as_long_as_the_slice_is_thick_over_the_tangent():
    across = np.arange(-40, 40, 0.1)
    ramp = Bar(0, 38, 0, 0.6, 0.6, 8000, slope=1 / 0.42)
    for z in (-2.5, 0, 2.5):
        share = ramp.share(np.zeros_like(across), across, z, 2.5, 0.1)
        assert (across * share).sum() / share.sum() == pytest.approx(z / 0.42, abs=0.06)
        assert (share > share.max() / 2).sum() * 0.1 == pytest.approx(2.5 / 0.42 + 0.6, abs=0.2)


def test_inserts_lie_where_pylinac_looks_for_them():
    image = CATPHAN.slice(0, 2.5, 512, 0.5)
    places = {"Air": -90, "PMP": -120, "LDPE": 180, "Poly": 120, "Acrylic": 60, "Delrin": 0, "Teflon": -60}
    for name, angle in places.items():
        x, y = (round(255.5 + 58.7 / 0.5 * f(math.radians(angle))) for f in (math.cos, math.sin))
        assert image[y, x] == NOMINAL[name]
    assert image[256, 256] == 90 and image[0, 0] == AIR


@pytest.mark.parametrize("name", PHANTOMS)
def test_a_phantom_s_modules_follow_each_other(name):
    phantom = PHANTOMS[name]()
    starts, stops = zip(*sorted((one.start, one.stop) for one in phantom.modules), strict=True)
    assert starts[1:] == stops[:-1] and phantom.extent == (starts[0], stops[-1])


# The scanner and the series.


def test_both_kernels_have_the_noise_of_one_acquisition_and_no_noise_leaves_the_values():
    noisy = dict(reconstruct(CATPHAN, seed=3, size=192, pixel=1.2, thickness=30))
    clean = dict(reconstruct(CATPHAN, dose=math.inf, size=192, pixel=1.2, thickness=30))
    z = min(noisy)  # the uniform module
    sharp, soft = (one[60:132, 60:132].astype(float) for one in noisy[z])
    assert all((one[60:132, 60:132] == 0).all() for one in clean[z])
    assert 2 < sharp.std() / soft.std() < 8
    assert np.corrcoef(sharp.ravel(), soft.ravel())[0, 1] > 0.3


def test_the_kernels_pass_line_pairs_as_their_transfer_functions_have_it():
    """0.4 a mm: in the middle of their square, 70 mm to the upper left."""
    slices = dict(reconstruct(acr464(), dose=math.inf, size=512, pixel=0.5, thickness=10))
    middle = round(255.5 - 70 / math.sqrt(2) / 0.5)
    sharp, soft = (one[middle - 8 : middle + 8, middle - 8 : middle + 8].std() for one in slices[100.0])
    gains = [float(kernel.transfer(torch.tensor(0.4, dtype=torch.float64))) for kernel in (SHARP, SOFT)]
    assert soft / sharp == pytest.approx(gains[1] / gains[0], rel=0.1)


def test_the_bundle_reads_the_series(small):
    image = load_image(small[1])
    assert tuple(image.shape[-3:]) == (256, 256, 51)
    assert image.affine.diagonal().tolist()[:3] == pytest.approx([-1.0, -1.0, 2.5])
    assert {path.suffix for path in Path(small[1]).iterdir()} == {".dcm"}
    uids = {pydicom.dcmread(path).SeriesInstanceUID for folder in small for path in Path(folder).iterdir()}
    assert len(uids) == 2


def test_nothing_is_written_over_a_folder_that_exists_and_only_known_phantoms_are_drawn(small):
    with pytest.raises(FileExistsError, match="exists; remove it"):
        simulate(str(Path(small[0]).parent))
    with pytest.raises(ValueError, match="'catphan999' cannot be drawn; take one of catphan503"):
        simulate("nowhere", phantom="catphan999")


# The comparison.


def measured(air: list[float], water: list[float]) -> Measured:
    return Measured(
        {"Air": air, "Teflon": [1000.0] * 3},
        {"Top": water, "Center": water},
        [10.0],
        [0.1, 0.2],
        [1.0, 2.0],
        {0.1: 1.0, 0.5: 0.4},
        dict.fromkeys(PERCENT),
        2.5,
        np.zeros((4, 4)),
    )


@pytest.mark.parametrize(
    ("air", "water", "failed"),
    [(-1000, 0, []), (-998, 2, []), (-1000, 2.1, ["water"]), (-1002.1, 0, ["air"]), (math.nan, 0, ["air"])],
)
def test_more_than_two_hu_of_air_or_water_fail(air, water, failed):
    parts = compare.judged(measured([-1000.0] * 3, [0.0] * 3), measured([air] * 3, [water] * 3))
    assert [sentence.split()[0] for sentence in compare.failures(parts)] == failed


def test_the_error_is_that_of_the_mean_of_paired_slices():
    part = compare.moved([0.0, 10.0, 20.0], [1.0, 12.0, 23.0])
    assert (part.by, part.error) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert compare.moved([0.0], [1.0]).error is None


def test_the_table_has_a_column_for_a_target():
    before, after = measured([-990.0] * 3, [0.0] * 3), measured([-1000.0] * 3, [1.0] * 3)
    lines = compare.table({"before": before, "after": after, "target": before}).splitlines()
    assert lines[0] == "|  | before | after | target | moved | off target |"
    assert lines[2] == "| insert Air, HU | -990.0 | -1000.0 | -990.0 | -10.0 ± 0.0 | -10.0 ± 0.0 |"
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("power", [[1.0, 2.0], [0.0, 0.0]])
def test_the_picture_shows_the_slices(tmp_path, power):
    part = dataclasses.replace(measured([-1000.0] * 3, [0.0] * 3), power=power, picture=np.full((8, 8), -500.0))
    figure.draw(tmp_path / "qa.png", "acr", {"before": part, "after": part})
    picture = np.asarray(Image.open(tmp_path / "qa.png").convert("L"))
    assert WRITTEN["qa.png"] in (tmp_path / "qa.png").read_bytes()
    assert picture.shape == (750, 1200) and np.ptp(picture) > 200
    grey = round(255 * 600 / 2200)
    assert (abs(picture.astype(int) - grey) < 2).mean() > 0.05


# The command.


@pytest.mark.parametrize("name", ["qa.json", "qa.png"])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("my own")
    with pytest.raises(SystemExit, match=f"{name}' is there, and was not written by apps.qa; move it away"):
        main([str(tmp_path), str(tmp_path), "--output", str(tmp_path)])
    assert (tmp_path / name).read_text() == "my own"


def test_without_pylinac_the_command_says_how_to_install_it(tmp_path, monkeypatch):
    done = run(sys.executable, "-m", "apps.qa", tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {environment.HOW_TO_INSTALL}" and "\n" not in environment.HOW_TO_INSTALL
    pins = (ROOT / "requirements" / "qa.txt").read_text().splitlines()
    assert any(pin.startswith("pylinac==") and pin in environment.HOW_TO_INSTALL for pin in pins)
    monkeypatch.delenv("QA_PYTHON", raising=False)
    with pytest.raises(FileNotFoundError, match="say `make"):
        environment.command("a", "b", root=tmp_path)
    monkeypatch.setenv("QA_PYTHON", sys.executable)
    words = environment.command("a", "b", "--phantom", "acr", root=tmp_path)
    assert words == (
        sys.executable,
        "-m",
        "apps.qa",
        str(Path("a").resolve()),
        str(Path("b").resolve()),
        "--phantom",
        "acr",
    )


def test_a_folder_that_is_missing_is_one_line(tmp_path):
    done = run(sys.executable, "-m", "apps.qa", tmp_path, tmp_path / "none")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: after {str(tmp_path / 'none')!r} is not a folder; give one with the DICOM files of a series.\n"
    )


@with_pylinac
@pytest.mark.slow
def test_pylinac_finds_the_phantom_and_its_values(small, tmp_path):
    done, found = judge(small[1], small[1], tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    one = found["series"]["before"]
    assert set(one["inserts"]) == set(NOMINAL)
    for name, value in NOMINAL.items():
        assert mean(one, "inserts", name) == pytest.approx(value, abs=10), name
    assert all(abs(mean(one, "uniformity", name)) < 1 for name in one["uniformity"])
    assert len(one["inserts"]["Air"]) == 5  # slices of 2.5 mm within 5 mm
    assert one["thickness"] == pytest.approx(2.5, abs=0.3)
    assert len(one["frequency"]) == len(one["power"]) == 10 and one["frequency"][-1] == pytest.approx(0.5)
    assert found["passed"] and found["moved"]["air"]["by"] == 0 and found["limit_hu"] == 2
    assert np.ptp(np.asarray(Image.open(tmp_path / "qa.png").convert("L"))) > 200


@with_pylinac
@pytest.mark.slow
def test_three_hu_in_the_uniform_module_are_seen_and_fail(small, tmp_path):
    after = edited(small[1], tmp_path / "after", lambda values, z: values + 3 * (z < -47.5))
    done, found = judge(small[1], after, tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: water moved by +3.0 HU") and done.stderr.count("\n") == 1
    assert "air" in found["moved"] and found["moved"]["air"]["by"] == 0 and not found["passed"]
    assert "| uniform module (water), HU |" in done.stdout


@with_pylinac
@pytest.mark.slow
def test_a_phantom_that_is_not_the_one_that_was_named_is_one_line(small, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(Path(small[1]).iterdir())[:20]:
        (some / path.name).write_bytes(path.read_bytes())
    done, found = judge(str(some), small[1], tmp_path / "out")
    assert done.returncode == 1 and not found
    assert done.stderr.startswith(f"error: {str(some)!r} cannot be measured as catphan504: ")
    assert done.stderr.count("\n") == 1


@with_pylinac
def test_a_folder_with_two_series_is_one_line(small, tmp_path):
    done, found = judge(str(Path(small[0]).parent), small[1], tmp_path / "out")
    assert done.returncode == 1 and not found
    assert done.stderr.endswith(" holds 2 series of images; give a folder with one of them.\n")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@with_pylinac
@pytest.mark.slow
@pytest.mark.parametrize("name", ["catphan503", "catphan600", "catphan604"])
def test_the_other_catphans_are_measured(name, tmp_path):
    folders = simulate(str(tmp_path), phantom=name, size=256, dose=400)
    done, found = judge(folders[1], folders[1], tmp_path / "out", "--phantom", name)
    assert done.returncode == 0, done.stderr
    one = found["series"]["after"]
    assert {insert: mean(one, "inserts", insert) for insert in NOMINAL} == pytest.approx(NOMINAL, abs=10)
    assert all(abs(mean(one, "uniformity", region)) < 1 for region in one["uniformity"])
    assert len(one["mtf"]) >= 4 and one["resolution"]["50"] == pytest.approx(0.27, abs=0.02)
    assert one["thickness"] == pytest.approx(2.5, abs=0.3)
    assert ("water (vial)" in found["moved"]) == (name == "catphan600")


@with_pylinac
@pytest.mark.slow
def test_an_acr_phantom_is_measured(tmp_path):
    folders = simulate(str(tmp_path), phantom="acr", size=256, dose=400)
    done, found = judge(folders[0], folders[1], tmp_path / "out", "--phantom", "acr")
    one = found["series"]["after"]
    nominal = {"Air": -1000, "Poly": -95, "Acrylic": 120, "Bone": 955, "Water": 0}
    assert {name: mean(one, "inserts", name) for name in nominal} == pytest.approx(nominal, abs=5)
    assert set(found["moved"]) == {"air", "water", "water (water)"}
    assert done.returncode == (0 if found["passed"] else 1)
    assert "noise power peaks" not in done.stdout


@with_pylinac
@pytest.mark.slow
def test_the_shipped_weights_give_what_the_soft_kernel_gives(tmp_path):
    """Sharp CatPhan through the bundle: noise and MTF of the true soft reconstruction, and its HU within 3."""
    sharp, soft = simulate(str(tmp_path / "catphan"), size=384)
    done = run(
        *(sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"),
        *("--dataset_dir", sharp, "--output_dir", tmp_path / "result", "--check_input", "warn"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    done, found = judge(sharp, str(tmp_path / "result"), tmp_path / "qa", "--target", soft)
    before, after, target = (found["series"][name] for name in ("before", "after", "target"))
    for name in NOMINAL:
        assert mean(after, "inserts", name) == pytest.approx(mean(target, "inserts", name), abs=3), name
    assert np.mean(after["noise"]) == pytest.approx(np.mean(target["noise"]), rel=0.1) and np.mean(before["noise"]) > 35
    assert after["resolution"]["50"] == pytest.approx(target["resolution"]["50"], abs=0.03)
    assert before["resolution"]["50"] > 1.4 * target["resolution"]["50"]
    assert abs(found["moved"]["water"]["by"]) < 1
    # an insert of 12 mm is not its nominal value with either kernel, so air moves: docs/qa.md
    assert done.returncode == 1 and done.stderr.startswith("error: air moved by -") and not found["passed"]
