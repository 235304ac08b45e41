"""One network by ours and by others: what is measured is the same network, and rows that cannot be measured say why."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import peers, seams, speed
from benchmarks.peers_methods import Finest, Settings, ours, ours_on_disk, window_faces

SHAPE = (40, 48, 24)
#: So little memory that there are several tiles.
SETTINGS = Settings(window=20, budget="7MiB", half=False, device="cpu")


@pytest.fixture(autouse=True)
def gradients():
    """The benchmarks switch them off."""
    yield
    torch.set_grad_enabled(True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small volume: its conditions and the network's result on the whole of it."""
    place = tmp_path_factory.mktemp("volume")
    peers.prepare(place, SHAPE, SETTINGS, on_disk=pytest.importorskip("zarr") is not None, as_mha=False)
    return place


@pytest.fixture
def here(monkeypatch):
    """Measure in this process: new ones import everything once more."""
    monkeypatch.setattr(peers, "fresh", lambda function, *arguments: function(*arguments))


def measured(folder, name):
    """What a method's row is made of: what it took, and the largest and mean difference and the seam."""
    method = next(method for method in peers.METHODS if method.name == name)
    taken = peers.measure(method, folder, SHAPE, SETTINGS)
    return taken, peers.compared(folder, taken.faces)


def test_the_reference_is_the_cascade_s_own_result(folder):
    cascade, window = speed.shipped()
    whole = seams.whole(cascade, speed.volume(SHAPE, window))[0, 0]
    np.testing.assert_allclose(np.load(folder / peers.WHOLE), whole.numpy(), atol=1e-5)


def test_padded_or_not_or_turned_it_is_one_network(folder):
    cascade, _ = speed.shipped()
    conditions = torch.from_numpy(np.load(folder / peers.CONDITIONS))[None]
    with torch.no_grad():
        bare = Finest(cascade, padded=False)(conditions)
        padded = Finest(cascade, padded=True)(conditions)
        turned = Finest(cascade, padded=True, turned=True)(conditions.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    reach = Finest(cascade, padded=False).reach
    assert padded.shape[2:] == conditions.shape[2:] and reach[2] == 0
    torch.testing.assert_close(padded[..., reach[0] : -reach[0], reach[1] : -reach[1], :], bare, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned, padded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("build", [ours, ours_on_disk])
def test_ours_is_the_whole_also_at_the_border(folder, build):
    work = build(folder, SHAPE, SETTINGS)
    assert any(work.faces)
    with torch.no_grad():
        result = work.fetch(work.run(work.load()))
    np.testing.assert_allclose(result, np.load(folder / peers.WHOLE), atol=1e-5)


def test_windows_show_and_whole_slices_do_not(folder):
    """The network works within the slice: who knows that needs no overlap."""
    cubes, (largest, mean, seam) = measured(folder, "MONAI")
    assert largest > 10 * mean > 1 and seam != 1
    assert cubes.faces[0] == [15, 20, 35] and cubes.seconds > 0 and cubes.busy > 0
    slices, (largest, _, seam) = measured(folder, "MONAI, slices")
    assert slices.faces == [[], [], [8, 16]] and largest < 1e-2 and seam == pytest.approx(1, abs=1e-3)


def test_windows_meet_where_they_begin_and_end():
    assert window_faces([(slice(0, 6), slice(0, 4)), (slice(4, 10), slice(0, 4))], (10, 4)) == [[4, 6], []]


@pytest.mark.usefixtures("here")
def test_a_row_without_its_package_or_that_fails_says_so(folder):
    def broken(*_):
        raise ValueError("takes no network | of slices\nand more")

    absent = replace(peers.METHODS[0], needs="no_such_package")
    row, taken = peers.cells(absent, folder, SHAPE, SETTINGS)
    assert row[0] == "skipped: no_such_package is not installed" and taken is None
    row, taken = peers.cells(replace(absent, needs="torch", build=broken), folder, SHAPE, SETTINGS)
    assert row[0] == "cannot: ValueError: takes no network / of slices" and taken is None


def test_a_volume_without_an_inside_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sides 28 x 28 x 28 .* take 32 or more"):
        peers.main(28, folder=str(tmp_path))


@pytest.mark.usefixtures("here")
def test_the_command_prints_a_table_and_draws_a_figure(tmp_path, capsys):
    figure = tmp_path / "a.png"
    peers.main(((40, 36, 16),), ["ours", "MONAI, slices"], folder=str(tmp_path), figure=str(figure))
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line[0] for line in lines] == ["40 x 36 x 16", "---", "ours", "MONAI, slices"]
    assert len({len(line) for line in lines}) == 1
    assert lines[2][5] == "not measured"  # there is no GPU
    assert figure.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [figure]
