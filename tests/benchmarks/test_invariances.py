"""The table of what does not change the kernel of a scan."""

import nibabel
import numpy as np
import pytest
import torch

from benchmarks.changed_scans import CHANGES
from benchmarks.invariances import main
from bundle.scanner import SOFT, frequencies
from tests.scanner.test_edge_spread import PIXEL, SPACING, cylinder


def test_the_table_shows_how_far_each_change_moves_the_kernel(tmp_path, capsys):
    affine = np.diag([*SPACING, 1.0])
    for name, image in (("body.nii", cylinder(SOFT).numpy()), ("air.nii", np.full((64, 64, 4), -1000.0))):
        nibabel.Nifti1Image(image.astype(np.int16), affine).to_filename(tmp_path / name)
    main(str(tmp_path / "body.nii"), str(tmp_path / "air.nii"), only=["turned", "0.8", "wide", "noise"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"skipped: {tmp_path / 'air.nii'}: no kernel is found in it"
    shown = {name: cells for name, *cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:])}
    assert len(shown) == 6 and all(cells[0] == "1 of 1" for cells in shown.values())
    assert all(float(cell) < 0.1 for cells in shown.values() for cell in cells[1:])


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_what_they_say(name):
    change, gain = CHANGES[name]
    scan = cylinder(SOFT)
    image, spacing = change(scan, SPACING, SOFT)
    assert image.ndim == len(spacing) == 3 and torch.isfinite(image).all()
    assert spacing[0] == pytest.approx(PIXEL * (1.3 if "1.3" in name else 1))
    assert bool((gain(torch.tensor([0.0, 0.3]), SPACING) == 1).all()) != any(
        word in name for word in ("Gaussian", "sharpened", "1.3")
    )
    if "Gaussian" in name:
        white = 100 * torch.randn(256, 256, 1, generator=torch.Generator().manual_seed(0))
        seen, before = (
            torch.fft.fft2(each[32:224, 32:224, 0]).abs() for each in (change(white, SPACING, SOFT)[0], white)
        )
        ring = (frequencies(SPACING[:2], size=192) - 0.3).abs() < 0.03
        known = float(gain(torch.tensor(0.3), SPACING))
        assert float(seen[ring].square().mean().sqrt() / before[ring].square().mean().sqrt()) == pytest.approx(
            known, rel=0.1
        )
