"""The table of halves of scans."""

import nibabel
import numpy as np
import pytest

from benchmarks.halves import main
from bundle.scanner import SOFT
from tests.scanner.test_edge_spread import SPACING, cylinder


def test_two_halves_of_a_scan_have_one_kernel(tmp_path, capsys):
    affine = np.diag([*SPACING, 1.0])
    for name, image in (("body.nii", cylinder(SOFT, slices=8).numpy()), ("air.nii", np.full((64, 64, 8), -1000.0))):
        nibabel.Nifti1Image(image.astype(np.int16), affine).to_filename(tmp_path / name)
    main(str(tmp_path / "body.nii"), str(tmp_path / "air.nii"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    shown = {name: cells for name, *cells in rows}
    assert shown["air"][0] == "too few"
    assert shown["body"][1:] == shown["mean"][1:] == shown["median"][1:]
    assert all(float(cell) == pytest.approx(0, abs=0.1) for cell in shown["body"][1:])
