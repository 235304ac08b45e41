"""Golden results: what the bundle makes of small fixed inputs is what it made before.

Each case (`tests/golden_cases.py`) is run through `configs/inference.json` and an overlay, in float32 on the CPU, and
compared with what is kept in `tests/golden/`: voxels within 1 HU or grey level, everything else (shape, type, affine,
units, codes, DICOM attributes) exactly. Inputs and results are written and read without the bundle's own code.

If results change on purpose, look at what changed and by how much, then renew what is kept::

    python -m tests.test_golden                     # run all cases and print what changed; nothing is written
    python -m tests.test_golden nii dicom           # these alone
    python -m tests.test_golden --renew nii dicom   # the same, and keep the new results of these cases
    python -m tests.test_golden --renew all

Cases that share voxels or a header have to agree: after one of them is renewed, the test tells of the others. Voxels
within the tolerance stay as they are kept. Look at each field of a renewed header: do not keep a fault, but name the
field in the case's ``faults``.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from benchmarks.same_bytes import compared
from tests import golden_cases
from tests.golden_cases import CASES, GOLDEN, ROOT, differences, keep, kept_array, kept_headers
from tests.golden_results import read_results

NAMED = {case.name: case for case in CASES}
HAS_ZARR = importlib.util.find_spec("zarr") is not None
NAME = "thorax_translated.nii"
#: In all: they are in every clone.
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_are_as_before(case, folder):
    if case.needs_zarr and not HAS_ZARR:
        pytest.skip("streaming and OME-Zarr need zarr 3, which needs Python 3.11")
    assert differences(case, case.run(folder)) == []


def test_kept_results_are_small_and_all_in_use():
    kept = {path.name for path in GOLDEN.iterdir()}
    used = {f"{case.voxels}.npz" for case in CASES} | {f"{case.header}.json" for case in CASES}
    more = {name for name in kept - used if any(name.startswith(f"{case.voxels}_") for case in CASES)}
    assert used | more == kept
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < MOST_BYTES


def change_voxel(path, by):
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[20, 20, 10] += by
    save(path, image, voxels, image.affine)


def change_affine(path):
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[2, 3] += 0.001  # closer than nibabel thinks worth a new header
    image.set_sform(affine)
    save(path, image, np.asarray(image.dataobj), affine)


def change_units(path):
    image = nibabel.load(path)
    image.header.set_xyzt_units("micron", "sec")
    save(path, image, np.asarray(image.dataobj), image.affine)


def change_code(path):
    image = nibabel.load(path)
    image.set_qform(image.affine, 3)
    save(path, image, np.asarray(image.dataobj), image.affine)


def change_type(path):
    image = nibabel.load(path)
    image.header.set_data_dtype(np.int32)
    save(path, image, np.asarray(image.dataobj, np.int32), image.affine)


def save(path, image, voxels, affine):
    nibabel.Nifti1Image(voxels, affine, image.header).to_filename(path.with_name("changed.nii"))
    path.with_name("changed.nii").replace(path)


@pytest.fixture
def changed(tmp_path):
    """Results of the plain case as they are kept, in a folder of their own, which a test may change."""
    image = nibabel.Nifti1Image(kept_array("thorax"), np.array(kept_headers("nii")[NAME]["affine"]))
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    path = tmp_path / "results" / NAME
    path.parent.mkdir()
    image.to_filename(path)
    return path


def seen(path, case="nii_streamed"):
    return differences(NAMED[case], read_results(path.parent, ROOT))


@pytest.mark.parametrize("by", [0, 1, -1])
def test_what_is_kept_passes_and_so_does_a_rounded_voxel(changed, by):
    change_voxel(changed, by)
    assert seen(changed) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda path: change_voxel(path, 2), "voxels thorax: 1 of 44321 differ by more than 1, at most 2"),
        (change_affine, f"header: {NAME}: affine: "),
        (change_units, f"header: {NAME}: units: "),
        (change_code, f"header: {NAME}: qform_code: 1 -> 3"),
        (change_type, "voxels thorax: int16 (47, 41, 23) -> int32 (47, 41, 23)"),
        (lambda path: path.rename(path.with_name("other.nii")), "header: other.nii: "),
        (lambda path: path.with_name("left.nii").write_bytes(path.read_bytes()), "header: left.nii: "),
    ],
    ids=["voxel", "affine", "units", "code", "type", "name", "another file"],
)
def test_a_change_is_seen(changed, change, line):
    change(changed)
    assert any(found.startswith(line) for found in seen(changed))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "PixelSpacing", "PatientID", "SourceImageSequence"])
def test_a_changed_dicom_attribute_is_seen(folder, keyword):
    case = NAMED["dicom"]
    if not (folder / case.name).exists():
        case.run(folder)
    file = sorted((folder / case.name / "series_translated").iterdir())[3]
    before = file.read_bytes()
    ds = pydicom.dcmread(file)
    delattr(ds, keyword)
    ds.save_as(file)
    try:
        assert any(keyword in line for line in differences(case, read_results(folder / case.name, ROOT)))
    finally:
        file.write_bytes(before)


def test_a_fault_is_not_compared_until_it_is_mended(changed):
    right = kept_headers("nii")[NAME]
    case = replace(NAMED["nii"], faults={name: right[name] for name in ("units", "slope_inter")})
    change_units(changed)
    change_code(changed)
    assert differences(case, read_results(changed.parent, ROOT)) == [
        f"header: {NAME}: qform_code: 1 -> 3",
        f"header: {NAME}: slope_inter: is right now, remove it from the faults of nii",
    ]


def test_renewed_results_pass_and_rounded_voxels_stay(changed, monkeypatch, tmp_path):
    monkeypatch.setattr(golden_cases, "GOLDEN", tmp_path / "golden")
    case = NAMED["nii_streamed"]
    assert any("none are kept" in line for line in seen(changed))
    keep(case, read_results(changed.parent, ROOT))
    assert seen(changed) == []
    before = (tmp_path / "golden" / "thorax.npz").read_bytes()
    for by, same in ((1, True), (40, False)):
        change_voxel(changed, by)
        keep(case, read_results(changed.parent, ROOT))
        assert seen(changed) == []
        assert ((tmp_path / "golden" / "thorax.npz").read_bytes() == before) is same


def test_results_of_two_versions_are_compared_byte_for_byte(changed, tmp_path):
    other = tmp_path / "other" / NAME
    other.parent.mkdir()
    other.write_bytes(changed.read_bytes())
    assert compared(changed.parent, other.parent) == "same"
    change_code(other)
    assert compared(changed.parent, other.parent) == "same voxels, 1 files differ otherwise"
    change_voxel(other, 7)
    assert compared(changed.parent, other.parent) == "differs at 1 voxels, largest difference 7"
    other.unlink()
    assert compared(changed.parent, other.parent) == f"differs: the first alone writes {NAME}"


def main(names: list[str], renew: bool) -> None:
    """Run cases, print what changed, and keep it if asked to."""
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES if names in ([], ["all"]) else [NAMED[name] for name in names]:
            results = case.run(Path(folder))
            lines = differences(case, results)
            if lines and renew:
                keep(case, results)
            verdict = "same" if not lines else "renewed" if renew else "differs"
            print("\n  ".join([f"{case.name}: {verdict}", *lines]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare results with the golden ones, or renew those.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all, or of: " + " ".join(NAMED))
    parser.add_argument("--renew", action="store_true", help="keep the results of the cases that changed")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - {"all", *NAMED}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}; take all, or of: {' '.join(NAMED)}")
    if asked.renew and not asked.cases:
        parser.error("--renew needs the cases to renew, or all")
    main(asked.cases, asked.renew)
