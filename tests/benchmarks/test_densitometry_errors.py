"""The multiple that intervals need, and when the truth is within."""

import numpy as np
import pytest

from benchmarks.densitometry_errors import Row, needed, patient_of, summarize

SHIFTS = np.array([[[1.0, -4.0], [-2.0, 3.0]]])  # one shift: LAA up by 1 or down by 2, Perc15 up by 3 or down by 4


def row(patient="a", truth=(10.0, -900.0), kind="real, calibrated"):
    return Row(patient, kind, "pair", np.array([20.0, -950.0]), np.array([10.0, -900.0]), np.array(truth), SHIFTS)


@pytest.mark.parametrize(
    ("truth", "score"), [((10, -900), (0, 0)), ((12, -894), (2, 2)), ((6, -920), (2, 5)), ((10.5, -902), (0.5, 0.5))]
)
def test_an_interval_of_the_score_reaches_the_truth(truth, score):
    found = row(truth=truth)
    assert found.score() == pytest.approx(score)
    low, high = found.limits(found.score())
    assert ((low <= truth) & (np.array(truth) <= high)).all()


def test_each_patient_counts_as_much_as_any_other():
    many = [row("a", (10 + k / 100, -900)) for k in range(100)]
    assert needed([*many, row("b", (15, -900))])[0] == pytest.approx(5)
    assert needed(many)[0] == pytest.approx(0.94)


def test_the_tables_count_what_is_within(capsys):
    summarize([row(), row("b", (13, -900)), row("c", kind="simulated, calibrated")])
    lines = capsys.readouterr().out.splitlines()
    shipped = lines[next(k for k, line in enumerate(lines) if "as shipped" in line) :]
    assert "| real | 2 | 2 | 50 % | 6.00 | 10.00 | 100 % | 14.00 | 50.00 |" in shipped
    with pytest.raises(SystemExit, match="two patients"):
        summarize([row(), row()])


def test_files_of_a_patient_are_known():
    names = ("ct/lungdx_A0002_sharpB70f", "lungdx_A0002_softB40f.nii.gz", "kernels/chest1_B10f", "lidc_0001.nii.gz")
    assert [patient_of(name) for name in names] == ["lungdx_A0002", "lungdx_A0002", "chest1", "lidc_0001"]
