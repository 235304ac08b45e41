"""A preview shows source, result and difference in the right place, colours and aspect ratio, whatever the format."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from PIL import Image

from apps.preview import GAP, LABEL, WIDTH, grey, preview, red_blue
from bundle.examples.phantom import ThoraxPhantom

SHAPE, SPACING = (30, 20, 12), (2.0, 2.0, 5.0)


def save(path: Path, image: np.ndarray, affine: np.ndarray) -> str:
    nibabel.Nifti1Image(image, affine).to_filename(path)
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A phantom, and the same 100 HU brighter."""
    phantom = ThoraxPhantom(SHAPE, SPACING)
    source = save(tmp_path / "source.nii.gz", phantom[...], phantom.affine)
    return source, save(tmp_path / "result.nii.gz", phantom[...] + np.int16(100), phantom.affine)


def panels(png: str, rows: list[int]) -> list[list[np.ndarray]]:
    """The panels of a preview whose rows are so many pixels high, as arrays."""
    sheet, top, found = np.asarray(Image.open(png)), GAP, []
    for height in rows:
        top += LABEL
        found.append([sheet[top : top + height, left : left + WIDTH] for left in range(GAP, 3 * WIDTH, WIDTH + GAP)])
        top += height + GAP
    assert sheet.shape == (top, 3 * (WIDTH + GAP) + GAP, 3)
    return found


def test_grey_and_red_blue() -> None:
    assert grey(np.array([-2000, -1350, -600, 150, 900]), (-1350, 150))[:, 0].tolist() == [0, 0, 127, 255, 255]
    blue, pale, white, red = red_blue(np.array([-300.0, -100.0, 0.0, 200.0]), 200).tolist()
    assert white == [255, 255, 255]
    assert blue[2] > blue[0] and pale[2] > pale[0] > blue[0]
    assert red[0] > red[2]


def test_volume(pair: tuple[str, str], tmp_path: Path) -> None:
    png = preview(*pair, str(tmp_path / "new" / "preview.png"))
    axial, coronal = panels(png, [round(WIDTH * 40 / 60), round(WIDTH * 60 / 60)])
    for source, result, difference in (axial, coronal):
        assert result.mean() > source.mean() + 10
        assert (difference == red_blue(np.array(100.0), 200)).all()
    slices = ThoraxPhantom(SHAPE, SPACING)[...]
    for drawn, expected in ((axial[0], slices[:, :, 6].T), (coronal[0], slices[:, 10, ::-1].T)):
        small = np.asarray(Image.fromarray(drawn).resize(expected.shape[::-1], Image.Resampling.BOX))[..., 0]
        assert np.corrcoef(small.ravel(), grey(expected, (-1350, 150))[..., 0].ravel())[0, 1] > 0.97


def test_formats_and_orientations_may_differ(pair: tuple[str, str], tmp_path: Path) -> None:
    source, _ = pair
    same = preview(source, source, str(tmp_path / "same.png"))
    itk.imwrite(itk.imread(source), str(tmp_path / "other.nrrd"))
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_filename(source))
    turned.to_filename(tmp_path / "turned.nii")
    assert nibabel.aff2axcodes(turned.affine) == ("R", "A", "S")
    for other in ("other.nrrd", "turned.nii"):
        png = preview(source, str(tmp_path / other), str(tmp_path / "again.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(png)), np.asarray(Image.open(same)))


def test_2d(tmp_path: Path) -> None:
    grey_levels = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))  # 40 rows, darkest on the left
    Image.fromarray(grey_levels).save(tmp_path / "source.png")
    Image.fromarray(255 - grey_levels).save(tmp_path / "result.png")
    png = preview(str(tmp_path / "source.png"), str(tmp_path / "result.png"), str(tmp_path / "preview.png"))
    ((source, result, difference),) = panels(png, [round(WIDTH * 40 / 60)])
    assert source[:, 0].max() < 10 and source[:, -1].min() > 245
    assert result[:, 0].min() > 245
    assert (difference[:, 0, 0] > difference[:, 0, 2]).all()  # red where the result is brighter


def shifted(affine: np.ndarray, mm: float) -> np.ndarray:
    """The affine of an image that lies so much further up."""
    moved = np.array(affine, float)
    moved[2, 3] += mm
    return moved


def test_mismatch_is_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    source, _ = pair
    affine = ThoraxPhantom(SHAPE, SPACING).affine
    short = save(tmp_path / "short.nii", np.zeros((30, 20, 11), np.int16), affine)
    thick = save(tmp_path / "thick.nii", np.zeros(SHAPE, np.int16), affine * [1, 1, 1.2, 1])
    moved = save(tmp_path / "moved.nii", ThoraxPhantom(SHAPE, SPACING)[...], shifted(affine, 300.0))
    near = save(tmp_path / "near.nii", ThoraxPhantom(SHAPE, SPACING)[...], shifted(affine, 0.1))
    preview(source, near, str(tmp_path / "near.png"))
    for other in (short, thick, moved):
        with pytest.raises(ValueError, match="source's grid"):
            preview(source, other, str(tmp_path / "never.png"))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nii"):
        preview(source, str(tmp_path / "nowhere.nii"), str(tmp_path / "never.png"))
    assert not (tmp_path / "never.png").exists()


def test_the_picture_replaces_neither_image(tmp_path: Path) -> None:
    source, result = paths = (str(tmp_path / "source.png"), str(tmp_path / "result.png"))
    for path in paths:
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(path)
    before = [Path(path).read_bytes() for path in paths]
    for name, path in zip(("source", "result"), paths, strict=True):
        for written in (path, str(tmp_path / "." / ".." / tmp_path.name / Path(path).name)):
            with pytest.raises(ValueError, match=rf"the picture .* is the {name}, which it would replace; give it"):
                preview(source, result, written)
    assert [Path(path).read_bytes() for path in paths] == before
    preview(source, result, str(tmp_path / "preview.png"))
    preview(source, result, str(tmp_path / "preview.png"))  # an earlier preview is replaced


def test_the_picture_replaces_no_picture_of_another(pair: tuple[str, str], tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.png"
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(thesis)
    before = thesis.read_bytes()
    with pytest.raises(
        FileExistsError, match=r"thesis\.png' exists already, and is not a picture of this bundle; give"
    ):
        preview(*pair, str(thesis))
    assert thesis.read_bytes() == before


def test_a_picture_that_cannot_be_written_leaves_what_was_there(
    pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview(*pair, str(tmp_path / "preview.png"))
    before = (tmp_path / "preview.png").read_bytes()

    def half(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match=r"preview\.png"):
        preview(*pair, str(tmp_path / "preview.png"))
    assert (tmp_path / "preview.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview.png", "result.nii.gz", "source.nii.gz"]
