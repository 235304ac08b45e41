"""The density of lungs that one can count by hand, whichever way the image lies and however it is read."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from bundle.examples.phantom import ThoraxPhantom
from bundle.examples.phantom.anatomy import LUNG, LUNGS
from bundle.examples.phantom.bodies import Ellipsoid
from bundle.images import Volume, held
from bundle.images.provenance import PROVENANCE
from bundle.transforms import Densitometry, densitometry
from bundle.transforms.densitometry import END, as_text, measured
from bundle.transforms.lung_mask import LEFT, RIGHT, find_lung_mask
from tests.dicom_series import write_series
from tests.results import results_in
from tests.transforms.test_streaming import run_inference

SHAPE, SPACING = (80, 60, 24), (4.0, 4.0, 3.0)
VOXEL = 0.048  # ml
AFFINE = np.diag([-5.9, -5.6, 10.0, 1.0])  # of a small phantom: to the left, back and head


def chest(gap=12, value=-860):
    """Left and right lung of 20 x 30 x 20 voxels in a body, the left one with a tenth of bullae, and a trachea.

    ::

        x: 0 . . 10 . 14 L L 34 . o . 46 R R 66 . 70 . . 80    to the right; a smaller gap than 12 moves the right lung
    """
    image = np.full(SHAPE, -1000, np.int16)
    image[10:70, 10:50] = 40
    image[14:34, 15:45, 2:22] = value
    image[14:16, 15:45, 2:22] = -960
    image[34 + gap : 54 + gap, 15:45, 2:22] = value
    if gap > 8:
        image[38:42, 28:32] = -1000
    return image


def volume(voxels, spacing=SPACING, flips=(1, 1, 1)):
    """An image whose axes run to the right, front and head, or where flipped against that."""
    affine = np.diag([*spacing, 1.0])
    for axis, (size, flip) in enumerate(zip(voxels.shape, flips, strict=True)):
        if flip < 0:
            affine[axis] = [*(-affine[axis, :3]), affine[axis, axis] * (size - 1)]
    return Volume(held(voxels[tuple(slice(None, None, flip) for flip in flips)], affine, "scan.nii"))


def test_a_chest_that_one_can_count():
    source = chest()
    source[46:66, 15:18, 2:22] = -1024  # a tenth of the right lung
    source[70:] = -1024  # outside: not counted
    found = measured(volume(source), volume(chest()))
    each = 20 * 30 * 20 * VOXEL
    fields = [key for key, *_ in densitometry.COLUMNS]
    assert [found["after"]["right"][key] for key in fields] == [0, 0, 100, -860, -860, each]
    assert [found["after"]["left"][key] for key in fields] == [10, 10, 100, -860, -870, each]
    assert [found["after"]["both"][key] for key in fields] == [5, 5, 100, -860, -865, 2 * each]
    assert [found["before"]["right"][key] for key in fields] == [10, 10, 100, -860, -876.4, each]
    assert [found["before"]["left"][key] for key in fields] == [10, 10, 100, -860, -870, each]
    assert found["mask"]["separated_by"] == "components"
    assert found["warnings"] == [] and found["interval_95"] is None
    assert found["no_interval"] == "no kernel was converted, or it is not told how the result was made"


def test_a_tilted_gantry_changes_no_volume():
    """The slices are moved against each other, which makes the third axis longer, but no voxel larger."""
    upright, tilted = (np.diag([*SPACING, 1.0]) for _ in range(2))
    tilted[1, 2] = 1.4
    found = [Volume(held(chest(), affine, "scan.nii")) for affine in (upright, tilted)]
    upright, tilted = (measured(each, each) for each in found)
    assert tilted["after"]["both"]["volume_ml"] == pytest.approx(upright["after"]["both"]["volume_ml"])
    assert tilted["warnings"] == upright["warnings"] == []  # they are as far apart as before


def test_percentile_and_areas_are_at_their_limits():
    """At -950 HU nothing is below -950 HU; 15 % of the voxels are reached at the value that completes them."""
    lungs, source = chest(), chest()
    source[46:49, 15:45, 2:22], source[49:52, 15:45, 2:22], source[52:66, 15:45, 2:22] = -950, -951, -900
    right = measured(volume(source), volume(lungs))["before"]["right"]
    assert (right["laa950_percent"], right["laa910_percent"], right["perc15_hu"]) == (15, 30, -951)
    source[49, 15, 2] = -900
    assert measured(volume(source), volume(lungs))["before"]["right"]["perc15_hu"] == -950


@pytest.mark.parametrize("flips", [(-1, 1, 1), (1, -1, -1), (-1, -1, 1)])
def test_sides_are_the_patient_s_whatever_the_axes(flips):
    source, result = chest(), chest()
    source[14:20] -= 20
    straight = measured(volume(source), volume(result))
    assert straight["before"]["left"]["mean_hu"] < straight["before"]["right"]["mean_hu"] - 5
    assert measured(volume(source, flips=flips), volume(result, flips=flips)) == straight
    sideways = [np.moveaxis(voxels, 2, 0) for voxels in (source, result)]
    affine = np.diag([*SPACING, 1.0])[:, [2, 0, 1, 3]]
    turned = [Volume(held(voxels, affine, "scan.nii")) for voxels in sideways]
    assert measured(*turned) == straight


@pytest.mark.parametrize("side", [256, 50, 17])
def test_slabs_make_no_difference(monkeypatch, side):
    """To the last bit, also where the blocks of the mask and the slabs divide no axis."""
    monkeypatch.setattr(densitometry, "SIDE", side)
    source, result = (
        volume(ThoraxPhantom((53, 47, 37), seed=1, noise=noise)[...][::-1, ::-1]) for noise in (150.0, 20.0)
    )
    found = [measured(source, result, thickness) for thickness in (1, 3, 8, 37, None)]
    assert found[0]["after"]["both"]["volume_ml"] > 100
    assert all(other == found[0] for other in found[1:])


def test_lungs_of_the_phantom_are_found():
    """Against its anatomy: below -500 HU in the space of each lung; airways apart."""
    phantom = ThoraxPhantom((190, 146, 100))
    image = phantom[...].astype(np.float32)
    middle = (np.array(phantom.shape) - 1) / 2
    points = (np.argwhere(np.ones(phantom.shape, bool)) - middle) * phantom.spacing
    lungs = find_lung_mask(image[::-1, ::-1], phantom.spacing).sides[::-1, ::-1]
    for side, (centre, radii) in zip((RIGHT, LEFT), LUNGS, strict=True):
        inside = Ellipsoid(centre, radii, LUNG, 0.45).inside(points).reshape(image.shape)
        truth = inside & (image < -500)
        assert 2 * ((lungs == side) & truth).sum() / ((lungs == side).sum() + truth.sum()) > 0.97
    assert not lungs[95, 76, 70:].any()  # the trachea


def test_the_mask_hardly_depends_on_noise():
    """As strong as a sharp kernel's at a usual dose; the image is pooled by 2."""
    masks = []
    for noise in (0.0, 100.0):
        image = volume(ThoraxPhantom((300, 260, 40), seed=2, noise=noise)[...][::-1, ::-1], (1.3, 1.3, 7.5))
        masks.append(find_lung_mask(densitometry.pooled(image, 8)[0], (2.6, 2.6, 7.5)).sides)
    assert (masks[0] != masks[1]).sum() < 0.01 * (masks[0] > 0).sum()


def test_air_between_patient_and_table_is_no_lung():
    """A table that is as dense as the body and touches it encloses air, which noise and kernels do not hide."""
    alone, table = chest().astype(np.float32), chest().astype(np.float32)
    table[10:70, 2:4] = table[10:13, 2:10] = table[67:70, 2:10] = -100
    for air in (-1000, -975, -1024):
        images = [np.where(image == -1000, np.float32(air), image) for image in (alone, table)]
        noise = np.random.default_rng(0).normal(0, 20, SHAPE).astype(np.float32)
        masks = [find_lung_mask(image + noise, SPACING).sides for image in images]
        assert masks[0].any() and (masks[0] == masks[1]).all()


def test_lungs_with_emphysema_are_lungs():
    """More than half of the right lung is destroyed, and as dark as the air around the patient."""
    image = chest(value=-900).astype(np.float32)
    image[46:57, :, 2:22][image[46:57, :, 2:22] == -900] = -1000
    assert (find_lung_mask(image, SPACING).sides[46:66, 15:45, 2:22] == RIGHT).all()


def test_lungs_that_touch_are_divided_where_they_do():
    image = chest(gap=4)
    image[34:38, 28:32, 10:14] = -860
    found = find_lung_mask(image.astype(np.float32), SPACING)
    assert found.separated_by == "watershed"
    assert (found.sides[38:58, 15:45, 2:22] == RIGHT).all() and (found.sides[14:34, 15:45, 2:22] == LEFT).all()
    merged = measured(volume(chest(gap=0)), volume(chest(gap=0)))
    assert merged["mask"]["separated_by"] == "plane"
    assert [warning for warning in merged["warnings"] if "plane through the body's middle" in warning]


def test_without_lungs_values_are_null(tmp_path, capsys):
    water = np.full(SHAPE, 40, np.int16)
    water[30:34, 30:34, 5:9] = -900  # 3 ml of gas
    paths = [tmp_path / "scan.nii", tmp_path / "scan_translated.nii"]
    for path in paths:
        nibabel.Nifti1Image(water, np.diag([*SPACING, 1.0])).to_filename(path)
    Densitometry()(*paths)
    found = json.loads((tmp_path / f"scan_translated.nii{END}").read_text(encoding="utf-8"))
    assert {value for field, value in found["after"]["both"].items() if field != "volume_ml"} == {None}
    assert found["before"]["left"]["volume_ml"] == 0 and found["mask"]["separated_by"] is None
    assert found["warnings"] == ["no lung was found: all densities are null"]
    assert "warning: no lung was found" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(path.name for path in paths), paths[1].name + END]


def test_what_is_not_to_be_trusted_is_told():
    source = chest()
    source[46:66, 15:25, 2:22] = -1024  # a sixth of both lungs
    found = measured(volume(source, (4.0, 4.0, 5.0)), volume(chest(), (4.0, 4.0, 5.0)))
    assert len(found["warnings"]) == 2
    assert found["warnings"][0].startswith("the slices are 5.00 mm apart, more than 3 mm")
    assert found["warnings"][1].startswith("16.7 % of the lung lie at -1024 HU or below, more than 10 %")
    assert all(warning in as_text(found) for warning in found["warnings"])
    clipped = chest()
    clipped[clipped < -880] = -880  # a twentieth of the lungs becomes its lowest value
    assert not any("lowest value" in warning for warning in measured(volume(clipped), volume(chest()))["warnings"])
    clipped[14:24, 15:45, 2:22] = -880
    told = measured(volume(clipped), volume(chest()))["warnings"]
    assert any(" % of the lung lie at -880 HU, its lowest value, more than 10 %" in warning for warning in told)
    cropped = chest()
    cropped[46:, 20:40, 14:] = -860  # open to the side, above slice 14
    found = measured(volume(cropped), volume(cropped))
    assert any(warning.startswith("the lungs are cut off by the sides") for warning in found["warnings"])


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"result 'scan.nii' has \(80, 60, 23\) voxels, its source .* \(80, 60, 24\)"):
        measured(volume(chest()), volume(chest()[..., :-1]))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"spatial_dims": 2}, "spatial_dims is 2"),
        ({"percentiles": [1.0, 99.5]}, r"percentiles is \[1.0, 99.5\]"),
        ({"limits": [1.0, 1200.0]}, r"the limits \[1.0, 1200.0\] begin above -950 HU"),
    ],
)
def test_images_that_are_no_ct_are_refused(keys, reason):
    with pytest.raises(ValueError, match=f"densitometry needs thorax CTs in HU, of three axes, but {reason}; set it"):
        Densitometry(**keys)


@pytest.mark.parametrize("form", [".nii.gz", "dicom"])
def test_a_run_writes_the_densities_of_its_files(tmp_path, capsys, form):
    """In memory and streamed: what the files hold, and the same if they hold the same."""
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    voxels = ThoraxPhantom((64, 52, 30), seed=1, noise=40.0)[...]
    source = tmp_path / "source" / f"scan{form if form.startswith('.') else ''}"
    if form == "dicom":
        write_series(source, voxels, AFFINE)
    else:
        source.parent.mkdir()
        nibabel.Nifti1Image(voxels, AFFINE).to_filename(source)
    found, results = [], []
    for streaming in (False, True):
        folder = tmp_path / str(streaming)
        run_inference(source, folder, densitometry=True, streaming=streaming, tile_size=24)
        (written,) = [path for path in results_in(folder) if not path.name.endswith(END)]
        results.append(Volume(written))
        found.append(json.loads(written.with_name(written.name + END).read_text(encoding="utf-8")))
        made = json.loads(written.with_name(written.name + PROVENANCE).read_text(encoding="utf-8"))
        expected = measured(Volume(source), results[-1], 1, made.get("kernel"))
        told = found[-1]["warnings"][len(expected["warnings"]) :]
        assert found[-1] == {**expected, "warnings": [*expected["warnings"], *told]}
        assert any("has pixels of 5.9 mm" in warning for warning in told)  # of the check of the input
        assert found[-1]["before"]["both"]["volume_ml"] > 0
        assert as_text(found[-1]) in capsys.readouterr().out
    if np.array_equal(*(volume.slab(0, volume.shape[2]) for volume in results)):
        assert found[0] == found[1]
