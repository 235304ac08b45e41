"""The table of real pairs and the catalogue, made of a simulated pair."""

import numpy as np
import pytest

from benchmarks import catalogue, pairs, real_pairs, simulated_kernels
from bundle.images import create_image, held
from bundle.scanner import SHARP, SOFT
from bundle.scanner.kernels import read_kernels
from tests.scanner.test_edge_spread import SPACING, F, cylinder

FILES = ("one_SHARP", "one_SOFT")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a sharp and a soft scan of one cylinder, as `DATA`."""
    folder = tmp_path_factory.mktemp("data")
    for name, kernel in zip(FILES, (SHARP, SOFT), strict=True):
        voxels = cylinder(kernel, slices=4, seed=3).numpy().astype(np.int16)
        image = held(voxels, np.diag([*SPACING, 1.0]))
        with create_image(folder / f"{name}.nii.gz", image, np.int16) as write:
            write(tuple(slice(0, side) for side in voxels.shape), voxels)
    return folder


@pytest.mark.bench
def test_the_table_has_a_row_for_each_method(data, monkeypatch, capsys):
    monkeypatch.setattr(pairs, "PAIRS", [("one", *FILES), ("other", "nothing", "here")])
    real_pairs.main(str(data))
    printed = capsys.readouterr().out
    assert "skipped: other: " in printed
    rows = {row.split("|")[1].strip(): row.split("|")[2:] for row in printed.splitlines() if row.startswith("| one")}
    ssim = {name: float(cells[0]) for name, cells in rows.items() if cells[0].strip() != "not found"}
    assert set(rows) - set(ssim) == {"one, band energies, the same reference"}  # a cylinder has no lungs
    assert ssim["one, source"] < ssim["one, Gaussian of 0.85 px"] < ssim["one, calibrated elsewhere, filter and levels"]
    assert ssim["one, found, reference the first half, on the second"] > ssim["one, source, second half"]
    for title in ("found, to the default target", "calibrated elsewhere, filter and levels"):
        filtered, whole = (rows[f"one, {title}{end}"] for end in ("", ", and the networks"))
        assert whole != filtered and float(whole[0]) == pytest.approx(float(filtered[0]), abs=0.02)


def test_the_catalogue_is_made_of_pairs(data, tmp_path, monkeypatch):
    measured = [("Maker", "sharp", "soft", [FILES], "a cylinder")]
    monkeypatch.setattr(catalogue, "PAIRS", measured)
    catalogue.main(str(data), str(tmp_path / "kernels.json"))
    found = read_kernels(tmp_path / "kernels.json")
    assert found.names() == "sharp, soft" and all("a cylinder" in kernel.source for kernel in found.kernels)
    sharp, soft = (found.find(name, "Maker").transfer(F) for name in ("sharp", "soft"))
    assert (sharp / SHARP.transfer(F) - 1).abs().max() < 0.05
    conversion = found.conversion("sharp", "soft")
    assert (soft / sharp - conversion.filter.transfer(F)).abs().max() < 0.01
    assert (conversion.filter.transfer(F) - SOFT.transfer(F) / SHARP.transfer(F)).abs().max() < 0.1


@pytest.mark.parametrize("own_kernel", [False, True])
def test_simulated_kernels_are_undone_better_than_by_nothing(own_kernel, data, capsys):
    simulated_kernels.main(str(data / "one_SOFT.nii.gz"), own_kernel=own_kernel)
    rows = [row.split("|")[1:] for row in capsys.readouterr().out.splitlines() if row.startswith("| mean")]
    ssim = {cells[0].strip(): float(cells[1]) for cells in rows}
    assert len(ssim) == 1 + len(pairs.GAUSSIANS)
    assert ssim["mean, found"] > min(ssim.values())
