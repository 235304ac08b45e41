"""A report is made in each format that is asked for; what fails costs a line, and no result."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from bundle.images.dicom_stack import series_files
from bundle.images.provenance import write_provenance
from bundle.report import Report, Summary
from bundle.report.agreement import PLOTTED, draw_agreement
from bundle.report.case import ENDS, is_ct
from bundle.report.pairing import Pair, find_pairs
from bundle.runtime import faults
from bundle.runtime.settings import REPORTS
from tests.dicom_series import write_segmentation, write_series
from tests.report.images import SPACING, chest, volume


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(voxels, np.diag([*SPACING, 1.0])).to_filename(path)
    return path


@pytest.fixture
def pair(tmp_path):
    return save(tmp_path / "in" / "scan.nii", chest(-870)), save(tmp_path / "out" / "scan_t.nii", chest())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_format_lies_beside_the_result(pair, capsys):
    source, result = pair
    facts = Report("pdf, html,JSON", hu=True)(source, result)
    assert names(result.parent) == ["scan_t.nii", *(f"scan_t.nii.report.{end}" for end in ("html", "json", "pdf"))]
    assert json.loads((result.parent / "scan_t.nii.report.json").read_text(encoding="utf-8")) == facts
    assert capsys.readouterr().out.count("report: ") == 3
    assert set(ENDS) == set(REPORTS)


def test_a_report_that_fails_is_one_line_and_the_result_stays(pair, tmp_path, capsys):
    source, result = pair
    before, content = len(faults()), result.read_bytes()
    save(source, chest()[..., 1:])
    summary = Summary(tmp_path)
    assert Report("html", hu=True, summary=summary)(source, result) is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and len(faults()) == before + 1
    assert lines[0].startswith(f"failed: no report of '{result}': result 'scan_t.nii' has (80, 60, 24) voxels")
    assert names(result.parent) == ["scan_t.nii"] and result.read_bytes() == content
    assert summary.rows()[0]["status"].startswith("done, but no report: result 'scan_t.nii' has")


def test_a_format_that_fails_does_not_hinder_the_others(pair, monkeypatch, capsys):
    source, result = pair

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bundle.report.case.write_pdf", full)
    assert Report("pdf,html,json", hu=True)(source, result) is None
    told = capsys.readouterr().err
    assert told.startswith(f"failed: no report of '{result}': pdf: disk full: ") and told.count("\n") == 1
    assert names(result.parent) == ["scan_t.nii", "scan_t.nii.report.html", "scan_t.nii.report.json"]


def test_a_table_that_is_another_s_is_one_line(pair, tmp_path, capsys):
    source, result = pair
    (tmp_path / "summary.csv").write_text("mine\n")
    assert Report("json", hu=True, summary=Summary(tmp_path))(source, result) is not None
    assert "failed: no row of" in capsys.readouterr().err
    assert (tmp_path / "summary.csv").read_text() == "mine\n"


def test_only_own_reports_are_replaced(pair, capsys):
    """Those of another are named, one line each."""
    source, result = pair
    forms = ("html", "json", "pdf")
    places = [result.parent / f"scan_t.nii.report.{form}" for form in forms]
    for place in places:
        place.write_text("mine\n")
    assert Report(forms, hu=True)(source, result) is None
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"failed: no report of '{result}': {form}: '{place}' exists already, and is not a report of this bundle; move "
        "it away."
        for form, place in zip(forms, places, strict=True)
    ]
    assert {place.read_text() for place in places} == {"mine\n"}
    for place in places:
        place.unlink()
    for _ in range(2):
        assert Report(forms, hu=True)(source, result) is not None


def test_what_an_image_is_can_be_seen():
    noise = np.random.default_rng(0).normal(0, 10, chest().shape)
    assert is_ct(volume((chest() + noise).astype(np.float32)))
    assert not is_ct(volume(np.abs(noise).astype(np.float32) * 30)) and not is_ct(volume(chest()[..., 0]))


def test_no_structured_report_of_other_files(pair, capsys):
    pytest.importorskip("highdicom", reason="needs highdicom: pip install highdicom")
    assert Report("sr", hu=True)(*pair) is None
    assert f"no report of {str(pair[1])!r}: sr: source and result have to be DICOM series; " in capsys.readouterr().err
    assert names(pair[1].parent) == ["scan_t.nii"] and not Report("sr", hu=True).is_there(pair[1])


# Which result is of which source


def test_results_are_known_by_their_names(tmp_path, capsys):
    sources = [save(tmp_path / "in" / f"{name}.nii", chest()) for name in ("a", "a_b", "c")]
    results = [save(tmp_path / "out" / f"{name}.nii", chest()) for name in ("a_b_t", "a_t", "other")]
    truths = [save(tmp_path / "truth" / f"{name}.nii", chest()) for name in ("a", "a_b_t")]
    assert find_pairs(tmp_path / "in", tmp_path / "out", tmp_path / "truth") == [
        Pair(str(sources[1]), str(results[0]), str(truths[1])),
        Pair(str(sources[0]), str(results[1]), str(truths[0])),
    ]
    assert f"passed over: {results[2]}, the result of no image" in capsys.readouterr().err
    truths[0].unlink()
    pairs = find_pairs(tmp_path / "in", tmp_path / "out", tmp_path / "truth")
    assert [pair.truth for pair in pairs] == [str(truths[1]), None]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("without truth: ")]
    assert told == [f"without truth: {results[1]}, as {tmp_path / 'truth'} holds no image of its name or its source's"]
    save(truths[0], chest())
    (alone,) = find_pairs(sources[2], results[2], truths[0])
    assert alone == Pair(str(sources[2]), str(results[2]), str(truths[0]))


def test_what_earlier_reports_have_left_among_results_is_passed_over_without_a_word(pair, capsys):
    folder = pair[1].parent
    rows = [dict.fromkeys((f"{key}_{when}" for key, *_ in PLOTTED for when in ("before", "after", "truth")), "1")] * 2
    assert draw_agreement(folder, rows) == folder / "bland_altman.png"
    write_segmentation(folder / f"{pair[1].name}.report.dcm")
    write_segmentation(folder / "other.dcm")
    Image.new("L", (8, 8)).save(folder / "photo.png")
    assert [found.result for found in find_pairs(pair[0].parent, folder)] == [str(pair[1])]
    told = capsys.readouterr().err
    assert "bland_altman" not in told and "report.dcm" not in told
    assert "photo.png, the result of no image" in told and "other.dcm, DICOM of the kind" in told


def test_results_are_known_by_the_contents_of_their_source(tmp_path, capsys):
    """Whatever its name and its place: cohorts of other patients often have the same names."""
    for name, value in (("in/a", -850), ("in/b", -860), ("other/a", -870)):
        save(tmp_path / f"{name}.nii", chest(value))
    result = save(tmp_path / "out" / "a_t.nii", chest())
    write_provenance(result, result, tmp_path / "in" / "a.nii", (), {})
    (pair,) = find_pairs(tmp_path / "in", tmp_path / "out")
    assert pair.source == str(tmp_path / "in" / "a.nii")
    (tmp_path / "in" / "a.nii").rename(tmp_path / "in" / "moved.nii")
    (pair,) = find_pairs(tmp_path / "in", tmp_path / "out")
    assert pair.source == str(tmp_path / "in" / "moved.nii")
    for source in (tmp_path / "other", tmp_path / "other" / "a.nii"):
        with pytest.raises(ValueError, match="holds no result of an image in"):
            find_pairs(source, tmp_path / "out")
        told = f"passed over: {result}, the result of no image in {source}, by the contents that its provenance tells"
        assert capsys.readouterr().err.strip() == told
    save(tmp_path / "in" / "a.nii", chest(-870))
    save(tmp_path / "in" / "moved.nii", chest(-870))
    with pytest.raises(ValueError, match="holds no result of an image in"):
        find_pairs(tmp_path / "in", tmp_path / "out")


def test_results_in_deeper_folders_and_one_of_several_series(tmp_path):
    """What a run with `recursive` or `series_uid` has made, and the results of a zip."""
    save(tmp_path / "in" / "p" / "1" / "a.nii", chest())
    result = save(tmp_path / "out" / "p" / "1" / "a_t.nii", chest())
    with pytest.raises(FileNotFoundError, match="which recursive True takes"):
        find_pairs(tmp_path / "in", tmp_path / "out")
    (pair,) = find_pairs(tmp_path / "in", tmp_path / "out", recursive=True)
    assert pair.result == str(result)

    voxels, affine = chest()[:8, :8, :4], np.diag([*SPACING, 1.0])
    for number in (1, 2):
        for file in write_series(tmp_path / str(number), voxels + number, affine, f"1.2.{number}"):
            (tmp_path / "two").mkdir(exist_ok=True)
            Path(file).rename(tmp_path / "two" / f"{number}_{Path(file).name}")
    result = save(tmp_path / "two_t.nii", voxels)
    files = series_files(tmp_path / "two", "1.2.1")
    write_provenance(result, result, tmp_path / "two", files, {})
    assert [pair.source for pair in find_pairs(tmp_path / "two", result, series_uid="1.2.1")] == [str(tmp_path / "two")]
    with pytest.raises(ValueError, match="holds no result"):
        find_pairs(tmp_path / "two", result, series_uid="1.2.2")


def test_what_does_not_belong_together_is_refused(tmp_path):
    for name in ("in/a", "in/b", "out/c", "out/d", "good/a_t", "good/b_t", "truth/x"):
        save(tmp_path / f"{name}.nii", chest())
    for number, key in enumerate(("source", "result", "truth")):
        given = [tmp_path / "in", tmp_path / "good", tmp_path / "in"]
        given[number] = tmp_path / "nothing"
        with pytest.raises(FileNotFoundError, match=rf"^{key} '.*nothing' does not exist"):
            find_pairs(*given)
    with pytest.raises(ValueError, match=r"holds no result of an image in .* give the folders of both"):
        find_pairs(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match="holds no image of the name of a source or a result, such as 'a'"):
        find_pairs(tmp_path / "in", tmp_path / "good", tmp_path / "truth")
