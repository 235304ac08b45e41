"""One row an image, whatever becomes of it; the plot of agreement is of numbers that one can check."""

import csv
import threading

import numpy as np
import pytest

from bundle.report.agreement import agreement, draw_agreement
from bundle.report.facts import facts_of
from bundle.report.summary import COLUMNS, FILE, Summary, safe
from tests.processes import ROOT
from tests.report.images import TOLD, chest, volume


def rows(folder):
    with (folder / FILE).open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_every_image_has_a_row(tmp_path):
    summary = Summary(tmp_path, tmp_path / "in")
    facts = facts_of(volume(chest(-870)), volume(chest()), True, provenance=TOLD, truth=volume(chest(-865)))
    summary.done(tmp_path / "in" / "a" / "scan.nii", tmp_path / "a" / "scan_t.nii", facts)
    summary.failed(tmp_path / "in" / "bad.nii", "it is empty;\n fetch it")
    summary.done(tmp_path / "in" / "c.nii", tmp_path / "c_t.nii", None, "disk full")
    found = rows(tmp_path)
    assert list(found) == ["a/scan.nii", "bad.nii", "c.nii"]
    first = found["a/scan.nii"]
    assert (first["result"], first["status"], first["seconds"]) == ("a/scan_t.nii", "done", "12.5")
    assert [first[f"mean_hu_{when}"] for when in ("before", "after", "truth")] == ["-874.5", "-865", "-869.75"]
    assert first["laa950_percent_after"] == "5" and first["warnings"] == "the slices are thick."
    assert (first["kernel_source"], first["kernel_target"]) == ("found", "soft")
    assert found["bad.nii"]["status"] == "failed: it is empty; fetch it" and not found["bad.nii"]["result"]
    assert found["c.nii"]["status"] == "done, but no report: disk full"


def test_a_later_run_replaces_the_row_of_its_image_alone(tmp_path):
    for cause in ("first", "second"):
        Summary(tmp_path).failed("a.nii", cause)
        Summary(tmp_path).failed(f"{cause}.nii", cause)
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {
        "a.nii": "failed: second",
        "first.nii": "failed: first",
        "second.nii": "failed: second",
    }


def test_several_at_once_lose_no_row(tmp_path):
    threads = [threading.Thread(target=Summary(tmp_path).failed, args=(f"{k}.nii", "x")) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(tmp_path)) == 12 and sorted(path.name for path in tmp_path.iterdir()) == [FILE]


@pytest.mark.parametrize("content", [b"name,value\nmine,1\n", b"\xff\xfe\x00", b""])
def test_another_table_is_not_replaced(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(FileExistsError, match="is not a summary of this version of the bundle; move it away"):
        Summary(tmp_path).failed("a.nii", "x")
    assert (tmp_path / FILE).read_bytes() == content


def test_a_single_image_has_no_table(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    Summary(tmp_path, tmp_path / "scan.nii.gz").failed(tmp_path / "scan.nii.gz", "x")
    assert not (tmp_path / FILE).exists()


def test_no_cell_is_a_formula():
    assert safe("=1+1") == "'=1+1" and safe("@a") == "'@a" and safe("-x") == "'-x" and safe("a=1") == "a=1"
    assert safe(-3.25) == "-3.25" and safe(None) == ""


def test_bias_and_limits_of_agreement():
    """Of differences 1, 2, 3: mean 2, deviation 1."""
    table = [
        {"x_after": str(true + extra), "x_truth": str(true), "x_before": ""}
        for true, extra in ((10, 1.0), (20, 2.0), (30, 3.0))
    ]
    found = agreement([*table, {"x_after": "5", "x_truth": "", "x_before": ""}], "x", "after")
    assert found.bias == 2 and found.limits == pytest.approx((2 - 1.96, 2 + 1.96))
    assert found.means.tolist() == [10.5, 21.0, 31.5]
    assert agreement(table, "x", "before") is None and agreement(table[:1], "x", "after") is None


def test_the_plot_needs_a_truth(tmp_path):
    blank = dict.fromkeys(COLUMNS, "")
    assert draw_agreement(tmp_path, [blank, blank]) is None and not list(tmp_path.iterdir())
    generator = np.random.default_rng(0)
    whens, columns = ("before", "after", "truth"), ("laa950_percent", "mean_hu")
    filled = [f"{column}_{when}" for column in columns for when in whens]
    drawn = [{**blank, **{name: f"{generator.random():.3f}" for name in filled}} for _ in range(5)]
    for _ in range(2):  # its own is replaced
        assert draw_agreement(tmp_path, drawn).read_bytes().startswith(b"\x89PNG")
    for content in (b"mine", (ROOT / "docs" / "figures" / "seams.png").read_bytes()):
        (tmp_path / "bland_altman.png").write_bytes(content)
        with pytest.raises(FileExistsError, match="is not a plot of this bundle; move it away"):
            draw_agreement(tmp_path, drawn)
        assert (tmp_path / "bland_altman.png").read_bytes() == content
