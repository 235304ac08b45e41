"""Images that are opened in a process of their own are the same, and what goes wrong there ends it alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLosslessSV1

from bundle.images import create_image, held, isolated, open_image
from bundle.images.image import ImageError
from tests.dicom_series import write_series
from tests.dicom_syntaxes import RAMP, encode

ENDS = (".nii", ".nii.gz", ".mha", ".ome.zarr", ".png")


@pytest.fixture
def limited(monkeypatch):
    """From now on, images are opened in processes of their own."""

    def limit(memory="4GiB"):
        monkeypatch.setenv(isolated.VARIABLE, "")
        isolated.isolate(memory)

    return limit


def written(folder, end):
    """An image of a format, and its path."""
    voxels = np.random.default_rng(0).integers(0, 255, (12, 10) if end == ".png" else (12, 10, 8)).astype(np.int16)
    affine = np.diag([2.0, -3.0, 4.0, 1.0]) if end != ".ome.zarr" else np.diag([2.0, 3.0, 4.0, 1.0])
    path = folder / f"a{end}"
    if end == "dicom":
        write_series(path, voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
        return path
    with create_image(path, held(voxels, affine), np.int16) as write:
        write(tuple(slice(0, side) for side in voxels.shape), voxels)
    return path


@pytest.mark.parametrize("end", [*ENDS, "dicom"])
def test_an_image_is_the_same(tmp_path, limited, end):
    if end == ".ome.zarr":
        pytest.importorskip("zarr", minversion="3", reason="OME-Zarr needs zarr 3, which needs Python 3.11")
    path = written(tmp_path, end)
    here = open_image(path)
    limited()
    there = open_image(path)
    for name in ("path", "shape", "dtype", "units", "files", "meta", "spacing", "kept"):
        assert getattr(there, name) == getattr(here, name), name
    assert np.array_equal(there.affine, here.affine)
    assert np.array_equal(there.whole(), here.whole())
    window = tuple(slice(2, 5) for _ in here.shape)
    assert np.array_equal(there[window], here[window])
    if here.header is not None:
        assert there.header == here.header


def test_a_compressed_series_is_the_same(tmp_path, limited):
    """ITK decodes it, from a file that this process may write for it."""
    write_series(tmp_path / "ct", np.repeat(RAMP, 2, -1), np.eye(4))
    for file in sorted((tmp_path / "ct").iterdir()):
        encode(file, JPEGLosslessSV1)
    here = open_image(tmp_path / "ct").whole()
    limited()
    assert np.array_equal(open_image(tmp_path / "ct").whole(), here)


def test_the_process_starts_without_monai():
    """Whose import takes longer than all else that it does."""
    program = "import sys, bundle.images.decoder; sys.exit('monai' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)


def test_an_error_is_that_of_the_image(tmp_path, limited):
    (tmp_path / "a.nii").write_bytes(b"no image" * 99)
    with pytest.raises(ImageError) as here:
        open_image(tmp_path / "a.nii")
    limited()
    with pytest.raises(ImageError) as there:
        open_image(tmp_path / "a.nii")
    assert str(there.value) == str(here.value)


@pytest.mark.skipif(os.name != "posix", reason="this system ends no process by a signal")
def test_a_process_that_ends_ends_alone(tmp_path, limited):
    path = written(tmp_path, ".nii")
    limited()
    image = open_image(path)
    (process,) = [cell.cell_contents for cell in image.read.__closure__]
    os.kill(process.process.pid, signal.SIGSEGV)
    with pytest.raises(ImageError, match=r"image '.*a\.nii' cannot be decoded within 4\.0 GiB .*ended with -11"):
        image.whole()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system has no limits of resources")
def test_more_memory_than_allowed_is_refused(tmp_path, limited):
    Image.new("L", (16000, 16000)).save(tmp_path / "a.png")
    limited("700MiB")
    with pytest.raises(ImageError, match=r"image '.*a\.png' cannot be decoded within 0\.7 GiB"):
        open_image(tmp_path / "a.png").whole()


def test_a_process_that_takes_too_long_is_ended(tmp_path, limited, monkeypatch):
    path = written(tmp_path, ".nii")
    limited()
    monkeypatch.setattr(isolated, "SECONDS", 0.01)
    with pytest.raises(ImageError, match=r"its process took more than 0\.01 s"):
        open_image(path)


def test_a_limit_that_is_no_size_is_refused():
    with pytest.raises(ValueError, match="memory size 'much' is not a positive number"):
        isolated.isolate("much")
