"""There and back again: out of an archive, translated, and into it beside its source, once or twice."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from bundle.examples.phantom import ThoraxPhantom
from bundle.images.reader import load_image
from tests.dicom_series import oblique, write_series
from tests.golden_run import run_job
from tests.results import results_in

pytest.importorskip("pynetdicom", minversion="3", reason="the archive needs pynetdicom")
from tests.archive import SUCCESS, find, pull, running, send

ROOT = Path(__file__).parents[2]
SOURCE = {"PatientID": "P7", "StudyInstanceUID": "1.2.826.0.1.7", "SeriesInstanceUID": "1.2.826.0.1.7.1"}
SHAPE = (40, 36, 10)

# pynetdicom's threads end in their own time
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def scan(folder):
    """A series as a scanner sends it."""

    def edit(header, **_):
        header.PatientName, header.PatientID, header.PatientSex = "Phantom^Thorax", SOURCE["PatientID"], "O"
        header.StudyInstanceUID, header.StudyDate, header.StudyID = SOURCE["StudyInstanceUID"], "20240102", "7"
        header.SeriesNumber, header.ConvolutionKernel, header.KVP = 3, "B70f", 120

    volume = np.asarray(ThoraxPhantom(SHAPE, spacing=(2.0, 2.0, 5.0), seed=0, noise=60.0)[:, :, :]).round()
    return write_series(folder, volume.astype(np.int16), oblique(), SOURCE["SeriesInstanceUID"], edit=edit)


def translated(source, folder):
    """The files of a derived series."""
    keys = {"dataset_dir": str(source), "output_dir": str(folder), "match_kernel": False, "tile_size": 32}
    run_job(ROOT, {"configs": ["inference"], "run_id": "run", "keys": keys})
    (made,) = results_in(folder)
    return sorted(made.iterdir())


def uids(files, keyword="SOPInstanceUID"):
    return {str(pydicom.dcmread(file, stop_before_pixels=True)[keyword].value) for file in files}


def test_a_scan_goes_round(tmp_path):
    """Its derived series is found under the same patient and study, has names of its own, and comes back as it was."""
    scanned = scan(tmp_path / "scanner")
    with running() as archive:
        assert set(send(archive, scanned)) == {SUCCESS}
        pulled = pull(archive, tmp_path / "pulled", SeriesInstanceUID=SOURCE["SeriesInstanceUID"])
        np.testing.assert_array_equal(load_image(tmp_path / "pulled"), load_image(tmp_path / "scanner"))

        derived = translated(tmp_path / "pulled", tmp_path / "out")
        assert set(send(archive, derived)) == {SUCCESS} and not archive.clashes
        assert len(derived) == len(scanned) == SHAPE[2] and len(archive.instances) == 2 * SHAPE[2]
        assert len(uids(derived)) == SHAPE[2] and uids(derived).isdisjoint(uids(pulled))

        found = find(archive, PatientID=SOURCE["PatientID"], StudyInstanceUID=SOURCE["StudyInstanceUID"])
        (new,) = [series for series in found if series.SeriesInstanceUID != SOURCE["SeriesInstanceUID"]]
        assert len(found) == 2 and {str(series.PatientName) for series in found} == {"Phantom^Thorax"}
        assert {new.SeriesInstanceUID} == uids(derived, "SeriesInstanceUID") and "synthetic" in new.SeriesDescription
        assert uids(derived, "FrameOfReferenceUID") == uids(scanned, "FrameOfReferenceUID")
        for file in derived:
            (named,) = pydicom.dcmread(file).SourceImageSequence
            assert named.ReferencedSOPInstanceUID in archive.instances

        again = pull(archive, tmp_path / "again", SeriesInstanceUID=new.SeriesInstanceUID)
        back, source = load_image(tmp_path / "again"), load_image(tmp_path / "scanner")
        np.testing.assert_array_equal(back, load_image(derived[0].parent))
        np.testing.assert_allclose(back.affine, source.affine)
        assert len(again) == SHAPE[2] and not np.array_equal(back, source)


def test_doing_it_twice_does_not_clash(tmp_path):
    """The second result has the same names and is the same, byte for byte: an archive has it already."""
    scanned = scan(tmp_path / "scanner")
    with running() as archive:
        send(archive, scanned)
        pull(archive, tmp_path / "pulled", SeriesInstanceUID=SOURCE["SeriesInstanceUID"])
        once = translated(tmp_path / "pulled", tmp_path / "once")
        twice = translated(tmp_path / "pulled", tmp_path / "twice")
        assert [file.read_bytes() for file in once] == [file.read_bytes() for file in twice]
        assert set(send(archive, once) + send(archive, twice)) == {SUCCESS}
        assert not archive.clashes and len(archive.instances) == 2 * SHAPE[2]


def test_the_archive_knows_a_clash(tmp_path):
    """Or the tests above say nothing."""
    (file, *_) = scan(tmp_path)
    with running() as archive:
        assert send(archive, [file, file]) == [SUCCESS] * 2
        other = pydicom.dcmread(file)
        other.PixelData = bytes(len(other.PixelData))
        other.save_as(file)
        assert send(archive, [file]) != [SUCCESS] and archive.clashes == [other.SOPInstanceUID]
