"""The viewer serves source, result and difference voxel for voxel, whatever their formats, and to its user alone."""

from __future__ import annotations

import http.client
import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import itk
import nibabel
import numpy as np
import pytest

from apps.viewer import __main__ as entry
from apps.viewer.server import FILES, NIIVUE, ViewerServer
from apps.viewer.streams import Difference, NiftiStream, holds_int16, step_for
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import HEADER, Volume
from tests.dicom_series import hounsfield, oblique, write_series

ROOT = Path(__file__).parents[2]
SHAPE, SPACING = (26, 20, 13), (2.0, 2.5, 5.0)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.Nifti1Image(voxels, affine).to_filename(path)
    return path


def received(data: bytes) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image.from_bytes(data)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def get(server: ViewerServer, path: str) -> http.client.HTTPResponse:
    """The answer for a path of the server, not of the link."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    connection.close()  # an answer keeps what it needs
    return answer


@contextmanager
def serving(source: Path, result: Path) -> Iterator[ViewerServer]:
    with ViewerServer(source, result) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A phantom, whose axes point to left, back and head, and its result in another format and orientation."""
    phantom = ThoraxPhantom(SHAPE, SPACING, noise=20)
    source = save(tmp_path / "source.nii.gz", phantom[...], phantom.affine)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(phantom[...] - np.int16(60), phantom.affine))
    itk.imwrite(
        itk.imread(save(tmp_path / "turned.nii", np.asarray(turned.dataobj), turned.affine)), tmp_path / "r.mha"
    )
    return source, tmp_path / "r.mha"


def test_what_is_served_are_the_voxels(pair: tuple[Path, Path]) -> None:
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_filename(pair[0]))
    voxels = np.asarray(expected.dataobj)
    with serving(*pair) as server:
        for name, values in (("source", voxels), ("result", voxels - 60), ("difference", voxels * 0 - 60)):
            with urlopen(f"{server.link}{name}.nii") as answer:
                image = received(answer.read())
            np.testing.assert_array_equal(np.asarray(image.dataobj), values)
            np.testing.assert_allclose(image.affine, expected.affine, atol=1e-4)
            np.testing.assert_allclose(image.header.get_zooms(), SPACING, rtol=1e-5)
            assert image.get_data_dtype() == np.int16
        with urlopen(f"{server.link}about.json") as answer:
            assert json.load(answer) == {"source": "source.nii.gz", "result": "r.mha", "shape": [*SHAPE], "step": 1}


def test_a_dicom_series_is_served(tmp_path: Path) -> None:
    write_series(tmp_path / "series", hounsfield(), oblique())
    volume = Volume(tmp_path / "series")
    with serving(tmp_path / "series", tmp_path / "series") as server, urlopen(f"{server.link}source.nii") as answer:
        image = received(answer.read())
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.slab(0, volume.shape[2]).numpy())
    assert np.sort(np.asarray(image.dataobj), None).tolist() == np.sort(hounsfield(), None).tolist()


def test_fractions_stay(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((5, 4, 3), np.float32)
    image = Volume(save(tmp_path / "fractions.nii", voxels, np.eye(4)))
    whole = Volume(save(tmp_path / "whole.nii", np.full((5, 4, 3), 40_000, np.float32), np.eye(4)))
    assert not holds_int16(image) and not holds_int16(whole)  # the one has fractions, the other is too large
    np.testing.assert_array_equal(np.asarray(received(b"".join(NiftiStream(image, whole=False))).dataobj), voxels)
    assert np.unique(received(b"".join(NiftiStream(whole))).dataobj).tolist() == [32767]  # clipped, not wrapped


@pytest.mark.parametrize("step", (2, 3, 5))
def test_every_so_manieth_voxel_lies_where_it_lay(tmp_path: Path, step: int) -> None:
    phantom = ThoraxPhantom((17, 12, 23), SPACING)
    image = Volume(save(tmp_path / "image.nii", phantom[...], phantom.affine))
    stream = NiftiStream(image, step=step)
    data = b"".join(stream)
    sent, voxels = received(data), image.slab(0, 23).numpy()
    assert len(data) == len(stream) == HEADER + 2 * math.prod(stream.shape)
    np.testing.assert_array_equal(np.asarray(sent.dataobj), voxels[::step, ::step, ::step])
    np.testing.assert_allclose(sent.affine @ [1, 2, 1, 1], image.affine @ [step, 2 * step, step, 1], atol=1e-4)


def test_a_step_is_taken_where_an_image_is_too_large() -> None:
    assert [step_for(shape, 1000) for shape in ((10, 10, 10), (11, 10, 10), (20, 20, 20), (21, 20, 20))] == [1, 2, 2, 3]
    assert step_for((512, 512, 512)) == 1 and step_for((1024, 1024, 600)) == 2


def test_other_grids_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    affine = ThoraxPhantom(SHAPE, SPACING).affine
    short = save(tmp_path / "short.nii", np.zeros((26, 20, 12), np.int16), affine)
    thick = save(tmp_path / "thick.nii", np.zeros(SHAPE, np.int16), affine * [[1], [1], [1.2], [1]])
    for other in (short, thick):
        with pytest.raises(ValueError, match="source's grid"):
            Difference(Volume(pair[0]), Volume(other))
        with pytest.raises(ValueError, match="source's grid"):
            ViewerServer(pair[0], other)


def test_only_who_has_the_link_is_answered_and_only_on_loopback(pair: tuple[Path, Path]) -> None:
    with serving(*pair) as server:
        secret = urlsplit(server.link).path
        assert server.server_address[0] == "127.0.0.1" and len(secret) > 12
        page = get(server, secret)
        assert page.status == 200 and "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"
        for path in (
            "/",
            "/source.nii",
            "/guess/source.nii",
            secret + "other.nii",
            secret + "../streams.py",
            secret[:-1],
        ):
            assert get(server, path).status == 404, path
    with serving(*pair) as other:
        assert urlsplit(other.link).path != secret


def test_an_image_that_breaks_off_says_why(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (64, 64, 60), np.int16)  # noise: nothing to compress
    source = save(tmp_path / "long.nii.gz", voxels, np.eye(4))
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(source.read_bytes()[: source.stat().st_size * 8 // 10])
    with serving(source, broken) as server:
        with urlopen(f"{server.link}result.txt") as answer:
            assert answer.read() == b""
        with pytest.raises(http.client.IncompleteRead), urlopen(f"{server.link}result.nii") as answer:
            answer.read()
        with urlopen(f"{server.link}result.txt") as answer:
            assert answer.read()
        with urlopen(f"{server.link}source.nii") as answer:  # the server goes on
            assert len(answer.read()) == len(server.streams["source"])


def test_without_niivue_the_way_out_is_told(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "NIIVUE", NIIVUE.parent / "nowhere.js")
    with pytest.raises(FileNotFoundError, match="npm ci"):
        entry.view(str(pair[0]), str(pair[1]), browser=False)


def test_the_page_takes_everything_from_disk_and_niivue_is_pinned() -> None:
    own = [file for file, _ in FILES.values() if file != NIIVUE]
    for file in own:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//\w+\.", text), file.name
        for name in re.findall(r"""(?:src|href)="([^"]*)"|from "\./([^"]*)""" + '"', text):
            assert "".join(name).startswith("data:") or "".join(name) in FILES, name
    folder = ROOT / "apps" / "viewer"
    (pin,) = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"].values()
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pin) and lock["node_modules/@niivue/niivue"]["version"] == pin
    assert all("resolved" not in package and ("integrity" in package or not name) for name, package in lock.items())
