"""The table of padded scans, made of a simulated pair without lung."""

import numpy as np
import pytest

from benchmarks import padding
from bundle.images import create_image, held
from bundle.scanner import SHARP, SOFT
from tests.scanner.test_edge_spread import SPACING, cylinder


def test_a_circle_is_no_skin_and_leaves_the_body_as_it_is(tmp_path, monkeypatch, capsys):
    for name, kernel in zip(padding.PAIR, (SHARP, SOFT), strict=True):
        voxels = cylinder(kernel, slices=2).numpy().astype(np.int16)
        image = held(voxels, np.diag([*SPACING, 1.0]))
        with create_image(tmp_path / f"{name}.nii.gz", image, np.int16) as write:
            write(tuple(slice(0, side) for side in voxels.shape), voxels)
    monkeypatch.setattr(padding, "RADII", (None, 50))
    padding.main(str(tmp_path), slices=(0, 2))
    rows = [row.split("|")[1:] for row in capsys.readouterr().out.splitlines()[2:]]
    found = {cells[0].strip(): (int(cells[1]), float(cells[5])) for cells in rows}
    assert len(found) == 2 * (1 + len(padding.VALUES))
    assert found["sharp"][0] > 100 and np.isnan(found["sharp"][1])
    for name, (profiles, error) in found.items():
        assert ("circle" not in name) or (profiles == 0 and error == pytest.approx(0, abs=6))
