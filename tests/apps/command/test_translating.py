"""From Python: the same voxels as from a file, in the kind of image that was given."""

from __future__ import annotations

import copy
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, Spacing

from bundle.examples.phantom import ThoraxPhantom
from bundle.images import open_image
from ct_kernel_translation_gan import Translator, translate
from ct_kernel_translation_gan.child import by_child
from ct_kernel_translation_gan.kinds import as_file

KEYS: dict[str, Any] = {"tile_size": 32, "check_input": "off"}


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    """A small phantom, int16."""
    return np.asarray(ThoraxPhantom((40, 36, 24), (1.0, 1.0, 2.0), noise=30.0)[...])


@pytest.fixture(scope="module")
def affine() -> np.ndarray:
    """Turned, with an origin that no float32 holds."""
    angle = 0.1
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return np.block([[turned * [-1.0, -1.0, 2.0], np.array([[10.1], [-20.2], [30.3]])], [np.zeros((1, 3)), 1]])


@pytest.fixture(scope="module")
def expected(voxels: np.ndarray, affine: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The result for the file."""
    folder = tmp_path_factory.mktemp("expected")
    nibabel.Nifti1Image(voxels, affine).to_filename(folder / "scan.nii")
    (path,) = translate(folder / "scan.nii", folder / "results", **KEYS)
    assert path == folder / "results" / "scan_translated.nii"
    found = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)
    assert np.abs(found - voxels).max() > 20
    return found


def nib(voxels: np.ndarray, affine: np.ndarray) -> Any:
    return nibabel.Nifti1Image(voxels, affine)


def mgh(voxels: np.ndarray, affine: np.ndarray) -> Any:
    return nibabel.MGHImage(voxels, affine)


def itk_image(voxels: np.ndarray, affine: np.ndarray) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    return image


def meta_tensor(voxels: np.ndarray, affine: np.ndarray) -> Any:
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine), meta={"patient": "kept"})


@pytest.mark.parametrize(
    ("made", "read"),
    [
        (nib, lambda image: np.asarray(image.dataobj)),
        (mgh, lambda image: np.asarray(image.dataobj)),
        (itk_image, lambda image: itk.array_from_image(image).T),
        (meta_tensor, lambda image: image.numpy()[0]),
    ],
    ids=["nibabel", "mgh", "itk", "MetaTensor"],
)
def test_kinds(
    made: Callable[..., Any],
    read: Callable[..., np.ndarray],
    voxels: np.ndarray,
    affine: np.ndarray,
    expected: np.ndarray,
) -> None:
    image = made(voxels, affine)
    result = translate(image, **KEYS)
    assert isinstance(result, type(image))
    assert np.array_equal(read(result), expected)
    assert np.array_equal(read(image), voxels)
    if isinstance(image, MetaTensor):
        assert torch.equal(result.affine, image.affine) and result.meta["patient"] == "kept"
        assert result.shape == image.shape
    elif hasattr(image, "affine"):
        assert np.array_equal(result.affine, image.affine)
    else:
        assert np.allclose(np.asarray(result.GetOrigin()), np.asarray(image.GetOrigin()), rtol=0, atol=1e-12)
        assert result.GetDirection() == image.GetDirection()


def test_arrays_by_one_translator(
    voxels: np.ndarray, affine: np.ndarray, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is loaded once, images of any shape follow, and nothing of the caller's is changed."""
    state, hook = torch.random.get_rng_state(), sys.excepthook
    translator = Translator(**KEYS)
    assert np.array_equal(translator(voxels, affine), expected)
    network, loading = translator._evaluator.network, "ignite.handlers.Checkpoint.load_objects"
    monkeypatch.setattr(loading, lambda *_, **__: pytest.fail("the weights are loaded again"))
    assert translator(voxels[:20, :30].astype(np.float32), affine).shape == (20, 30, 24)
    assert np.array_equal(translator(voxels.astype(np.int64), affine), expected)
    assert translator._evaluator.network is network
    assert torch.equal(torch.random.get_rng_state(), state) and sys.excepthook is hook


def test_pending_operations_are_applied_and_what_is_applied_is_kept(voxels: np.ndarray, affine: np.ndarray) -> None:
    image, translator = meta_tensor(voxels, affine), Translator(**KEYS)
    flips = [Flip(0, lazy=lazy) for lazy in (True, False)]
    lazy, eager = (cast(Any, flip(image)) for flip in flips)
    made = [translator(each) for each in (lazy, eager)]
    assert len(lazy.pending_operations) == 1 and not made[0].pending_operations
    assert torch.allclose(made[0].affine, eager.affine) and torch.equal(made[0].as_tensor(), made[1].as_tensor())
    unflipped: Any = flips[1].inverse(made[1])
    assert torch.allclose(unflipped.affine, image.affine) and len(made[0].applied_operations) == 1
    smaller: Any = Spacing((2.0, 2.0, 4.0), lazy=True)(image)
    assert tuple(translator(smaller).shape[1:]) == tuple(smaller.peek_pending_shape()) != voxels.shape


def test_copies_and_numbers_of_numpy(
    voxels: np.ndarray, affine: np.ndarray, expected: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy of a used translator has a network of its own; a tensor that is negated lazily is what it shows."""
    translator = Translator(
        **{**KEYS, "tile_size": np.array([32, 32, 32]), "skip_existing": np.bool_(False)},
        overwrite="own",
        provenance=True,
        limits=[np.float32(-1200), np.int16(2000)],
    )
    assert np.array_equal(translator(voxels, affine), expected)
    twin = copy.deepcopy(translator)
    assert np.array_equal(twin(voxels, affine), expected) and twin._evaluator is not translator._evaluator
    with pytest.raises(ValueError, match="not finite"):
        translator(np.full((8, 8, 8), np.nan), affine)
    assert not caplog.records and np.array_equal(translator(voxels, affine), expected)
    negated = torch.imag(torch.complex(torch.zeros(voxels.shape), -torch.from_numpy(voxels).float()).conj())
    assert negated.is_neg() and np.array_equal(translator(negated, affine).numpy(), expected)


def test_a_zip_with_reports(voxels: np.ndarray, affine: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    """A path goes through all that inference does: what is unpacked is gone, reports and their table are there."""
    nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "scan.nii")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(tmp_path / "scan.nii", "scan.nii")
    (path,) = translate(tmp_path / "scans.zip", tmp_path / "out", report="json", **KEYS)
    assert np.array_equal(np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj), expected)
    names = {"scan_translated.nii" + end for end in ("", ".provenance.json", ".report.json")}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {*names, "summary.csv"}
    before = path.stat().st_mtime_ns
    again = {**KEYS, "skip_existing": True}
    assert translate(tmp_path / "scans.zip", tmp_path / "out", **again) == [path]
    assert path.stat().st_mtime_ns == before
    assert by_child(tmp_path / "scans.zip", tmp_path / "out", [], again) == [path]
    odd = tmp_path / "out exists already, made from these"  # as the command's lines say
    (path,) = by_child(tmp_path / "scans.zip", odd, [], KEYS)
    assert path.is_file() and by_child(tmp_path / "scans.zip", odd, [], again) == [path]


def test_names_that_look_like_code(
    voxels: np.ndarray, affine: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "%dose.nii")
    (path,) = translate("%dose.nii", "$open('ran', 'w')", **KEYS)
    assert path == Path("$open('ran', 'w')/%dose_translated.nii") and path.is_file()
    assert {entry.name for entry in tmp_path.iterdir()} == {"%dose.nii", "$open('ran', 'w')"}


def test_picture() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 48), np.uint8)
    result = translate(grey, experiment="xray_2d")
    assert (result.shape, result.dtype) == (grey.shape, grey.dtype)


@pytest.mark.parametrize(
    ("image", "keys", "error", "reason"),
    [
        (np.zeros((4, 4, 4), np.int16), {}, ValueError, "affine is missing"),
        (np.zeros((4, 4, 4, 2), np.int16), {"affine": np.eye(4)}, ValueError, r"image has the shape \(4, 4, 4, 2\)"),
        (np.zeros((4, 4, 4), np.int16), {"affine": np.eye(3)}, ValueError, r"affine has the shape \(3, 3\)"),
        (np.zeros((4, 4)), {"experiment": "xray_2d"}, ValueError, "grey values of the type float64"),
        (np.full((4, 4, 4), 2**40), {"affine": np.eye(4)}, ValueError, "values that no int32 holds"),
        (nib(np.zeros((4, 4, 4), np.int16), np.eye(4)), {"affine": np.eye(4)}, ValueError, "leave it out"),
        ([[0]], {}, TypeError, "image is a list"),
        (np.zeros((4, 4, 4)), {"affine": np.eye(4), "densitometry": True}, ValueError, "a file beside each result"),
        ("scan.nii", {}, ValueError, "result is missing"),
        ("gone.nii", {"result": "out"}, FileNotFoundError, "'gone.nii' does not exist"),
        ("gone.nii", {"result": "out", "tile_sise": 3}, ValueError, "did you mean --tile_size"),
        ("gone.nii", {"result": "out", "tile_size": "abc"}, ValueError, "tile_size 'abc'"),
        ("gone.nii", {"result": "out", "series_description": "$1/0"}, ValueError, "'\\$1/0' would be read as code"),
        ("gone.nii", {"result": "out", "target_kernel": "@seed"}, ValueError, "target_kernel '@seed' would be read as"),
        ("$1/0", {"result": "out"}, FileNotFoundError, "'\\$1/0' does not exist"),
        ("@seed", {"result": "out"}, FileNotFoundError, "'@seed' does not exist"),
        ("gone.nii", {"result": "out", "output_dir": "x"}, ValueError, "output_dir 'x' has no effect; give it as the"),
        (np.zeros((4, 4, 4)), {"dataset_dir": "x"}, ValueError, "as the argument image of translate"),
        ("gone.nii", {"result": "out", "bundle_root": "x"}, ValueError, "bundle_root 'x' has no effect: the"),
        *(
            (np.zeros((4, 4, 4)), {"affine": np.eye(4), key: value}, ValueError, f"{key} .* on an image in memory")
            for key, value in (
                ("output_ext", ".mha"), ("skip_existing", True), ("overwrite", "nonsense"),
                ("output_postfix", "../x"), ("recursive", True), ("series_uid", "1.2"), ("series_description", "x"),
            )
        ),
        ("gone.nii", {"result": "out", "experiment": "x"}, ValueError, "experiment 'x' is not known"),
        (np.ones((8, 8, 8), np.int16), {"affine": np.eye(4), "handlers": []}, ValueError, "hold no CheckpointLoader"),
        (np.zeros((8, 8, 8), np.int16), {"affine": np.eye(4)}, ValueError, "^image has the value 0 in all its voxels"),
        ([[0]], {"affine": np.eye(4)}, TypeError, "image is a list"),
        (["a.nii"], {"result": "out"}, TypeError, "image is a list; give one path, of an image or of a folder"),
        *(
            (np.zeros((4, 4, 4)).astype(kind), {"affine": np.eye(4)}, ValueError, f"voxels of the type .*{told}")
            for kind, told in ((object, "object"), (str, "U"), (complex, "complex128"), (np.longdouble, "float"))
            if np.dtype(kind).itemsize > 8 or kind in (object, str)  # float64 is the longest on some systems
        ),
        (np.zeros((4, 4, 4)), {"affine": np.eye(4) + 1j}, ValueError, "affine has the type complex128"),
        (np.zeros((4, 4, 4)), {"affine": np.eye(4)[[0, 1, 2, 2]]}, ValueError, "affine ends in the row"),
        (np.zeros((4, 4), np.uint8), {"affine": np.eye(4)}, ValueError, "affine is given, but a picture"),
        (MetaTensor(torch.zeros(1, 4, 4).short()), {}, ValueError, r"shape \(1, 4, 4\), a channel and a picture"),
        (itk.image_from_array(np.zeros((1, 4, 4, 4), np.int16)), {}, ValueError, "image has 4 axes; give one"),
    ],
)  # fmt: skip
def test_refused(image: Any, keys: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        translate(image, **keys)


def test_where_another_bundle_is_loaded(
    voxels: np.ndarray, affine: np.ndarray, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process of its own translates; the other package stays."""
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "bundle"}
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    other = types.ModuleType("bundle")
    other.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "bundle", other)
    assert np.array_equal(translate(voxels, affine=affine, **KEYS), expected)
    assert sys.modules["bundle"] is other and not [name for name in sys.modules if name.startswith("bundle.")]
    with pytest.raises(ValueError, match="did you mean --tile_size"):
        translate(voxels, affine=affine, tile_sise=32)


@pytest.mark.parametrize(("unit", "size"), [("micron", 1e-3), ("mm", 1.0), ("meter", 1e3)])
def test_the_unit_of_a_nibabel_image_is_heeded(tmp_path, unit, size):
    image = nibabel.Nifti1Image(np.zeros((5, 4, 3), np.int16), np.diag([0.8 / size, 0.8 / size, 2 / size, 1]))
    image.header.set_xyzt_units(unit)
    assert open_image(as_file(image, tmp_path)[0]).spacing == pytest.approx((0.8, 0.8, 2.0))
