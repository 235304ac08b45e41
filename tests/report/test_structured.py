"""The structured report is right by the standard's programs, and tells what was measured, of which slices."""

import datetime
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bundle.examples.phantom import ThoraxPhantom
from bundle.images import Volume, create_image, open_image
from bundle.images.derived import Derivation
from bundle.report import Report
from bundle.report.case import check_own
from tests.dicom_series import write_series

hd = pytest.importorskip("highdicom", reason="needs highdicom: pip install highdicom")

AFFINE = np.diag([-5.9, -5.6, 10.0, 1.0])
#: Values and units of a lung, in their order.
UNITS = ["%", "[hnsf'U]", "[hnsf'U]", "cm3"]


class Later(datetime.datetime):
    """A clock that has run on."""

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2100, 1, 2, 3, 4, 5, tzinfo=tz)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A thorax, a derived series of it, and the report: the facts, and paths of all three."""
    folder = tmp_path_factory.mktemp("sr")
    voxels = ThoraxPhantom((64, 52, 30), seed=1, noise=40.0)[...]
    write_series(folder / "ct", voxels, AFFINE)
    source = open_image(folder / "ct")
    with create_image(folder / "ct_soft", source, np.int16, Derivation()) as write:
        smooth = source.whole().astype(np.int16)
        write(tuple(slice(0, size) for size in smooth.shape), np.clip(smooth, -930, None))
    facts = Report("sr", hu=True)(folder / "ct", folder / "ct_soft")
    return facts, folder / "ct", folder / "ct_soft", folder / "ct_soft.report.dcm"


def test_highdicom_reads_back_what_was_measured(written):
    facts, source, result, path = written
    report = hd.sr.srread(path)
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == 6
    ends = {"source": ("before", source), "result": ("after", result)}
    sides = {"right lung": "right", "left lung": "left", "both lungs": "both"}
    for group in groups:
        side, end = group.tracking_identifier.split(", ")
        when, folder = ends[end]
        expected = facts["densitometry"][when][sides[side]]
        found = group.get_measurements()
        keys = ("laa950_percent", "perc15_hu", "mean_hu", "volume_ml")
        assert [each.value for each in found] == pytest.approx([expected[key] for key in keys])
        assert [each.unit.value for each in found] == UNITS
        assert {item.referenced_sop_instance_uid for item in group.source_images} == {
            pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in folder.iterdir()
        }
    assert facts["densitometry"]["after"]["both"]["laa950_percent"] == 0


def test_it_belongs_to_the_study_of_the_result(written):
    _, source, result, path = written
    report, first = pydicom.dcmread(path), pydicom.dcmread(next(result.iterdir()))
    assert (report.PatientName, report.StudyInstanceUID) == (first.PatientName, first.StudyInstanceUID)
    others = {pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID for folder in (source, result)}
    assert len(others) == 2 and report.SeriesInstanceUID not in others
    assert report.SeriesNumber == first.SeriesNumber + 1 and report.Modality == "SR"
    (studies,) = report.CurrentRequestedProcedureEvidenceSequence
    assert [len(series.ReferencedSOPSequence) for series in studies.ReferencedSeriesSequence] == [30, 30]
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_it_is_replaced_as_the_bundle_s_own(written):
    *_, path = written
    check_own(path, "sr")
    with pytest.raises(FileExistsError, match="is not a report of this bundle; move it away"):
        check_own(next(written[1].iterdir()), "sr")


def test_the_same_result_has_the_same_report(written, tmp_path, monkeypatch):
    """A UID never names two things, so no time of writing is stored."""
    _, source, result, path = written
    shutil.copytree(result, tmp_path / "again")
    monkeypatch.setattr("highdicom.base.datetime.datetime", Later)
    Report("sr", hu=True)(source, tmp_path / "again")
    assert (tmp_path / "again.report.dcm").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("day", "time"), [("20200102", "030405.5"), ("", "")])
def test_the_content_is_dated_as_the_study(written, tmp_path, day, time):
    _, source, result, _ = written
    shutil.copytree(result, tmp_path / "dated")
    for file in (tmp_path / "dated").iterdir():
        header = pydicom.dcmread(file)
        header.StudyDate, header.StudyTime = day, time
        header.save_as(file)
    Report("sr", hu=True)(source, tmp_path / "dated")
    report = pydicom.dcmread(tmp_path / "dated.report.dcm")
    assert (report.ContentDate, report.ContentTime) == (day or "19000101", time or "000000")
    assert not {"InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"} & set(report.dir())


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is missing; it is in Debian's dicom3tools")
def test_dciodvfy_finds_no_error(written):
    said = subprocess.run(["dciodvfy", "-new", str(written[-1])], capture_output=True, text=True, check=False)
    lines = (said.stderr + said.stdout).splitlines()
    assert "Comprehensive3DSR" in lines
    assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.skipif(not shutil.which("dsrdump"), reason="dsrdump is missing; it is in dcmtk of Debian")
def test_dcmtk_reads_it(written):
    said = subprocess.run(["dsrdump", "+Pc", str(written[-1])], capture_output=True, text=True, check=True)
    assert said.stderr == "" and "Comprehensive 3D SR Document" in said.stdout
    assert said.stdout.count("<contains NUM:") == 24 and said.stdout.count("Low attenuation area below -950 HU") == 6


def test_dicom_validator_finds_no_error(written):
    """By a copy of the standard that is there; it would fetch one otherwise."""
    validator = pytest.importorskip("dicom_validator", reason="needs dicom-validator: pip install dicom-validator")
    copy = Path(os.environ.get("DICOM_STANDARD", Path.home() / "dicom-validator"))
    if not any(copy.glob("*/docbook/part03.xml")):
        pytest.skip(f"needs a copy of the standard in {copy}, or where DICOM_STANDARD says")
    command = [shutil.which("validate_iods") or "validate_iods", "-src", str(copy), "--edition", "local"]
    said = subprocess.run([*command, str(written[-1])], capture_output=True, text=True, check=False)
    assert validator and said.returncode == 0, said.stdout + said.stderr


def test_a_lung_that_is_missing_has_no_group(written):
    from bundle.report.structured import groups, headers_of

    facts, source, result, _ = written
    headers = {"before": headers_of(Volume(source)), "after": headers_of(Volume(result))}
    lungs = facts["densitometry"]
    empty = {when: {**lungs[when], "left": dict.fromkeys(lungs[when]["left"])} for when in ("before", "after")}
    assert len(list(groups({"densitometry": empty}, headers))) == 4
