"""What is measured is what MONAI measures, slab by slab; seams, densitometry and significance by cases one can see."""

import math

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import MAEMetric, MSEMetric, SSIMMetric
from scipy.stats import ttest_rel

from bundle import scanner
from bundle.evaluation.cases import Acquisition, RealCase, SimulatedCase, central, check_names, find_cases, tuning_cases
from bundle.evaluation.metrics import (
    BLOCK,
    LUNG,
    compare,
    densitometry,
    faces_of,
    flat_places,
    grid,
    jumps,
    lung_blocks,
    noise_spectrum,
    p_text,
    paired_p,
    seam,
)
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import Volume, create, write
from bundle.scanner import SIDE


class Whole:
    """An image in memory, as slabs."""

    def __init__(self, image, spacing=(1.0, 1.0, 1.0)):
        self.image, self.shape, self.spacing = image.float(), tuple(image.shape), spacing
        self.affine = np.diag([*spacing, 1.0])

    def slab(self, start, stop):
        return self.image[..., start:stop]


def save(path, image, affine=None):
    nibabel.Nifti1Image(np.asarray(image, np.int16), np.eye(4) if affine is None else affine).to_filename(path)
    return str(path)


def speckle(shape, mean=-400.0, std=200.0):
    return mean + std * torch.randn(shape)


# Volumes


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_any_window_of_a_volume_is_that_of_the_reoriented_whole(tmp_path, suffix):
    from monai.transforms import LoadImage, Orientation, SaveImage

    affine = np.array([[0, 0, 2.0, 5], [-0.5, 0, 0, 7], [0, -0.7, 0, 9], [0, 0, 0, 1]])
    path = save(tmp_path / "scan.nii", torch.arange(4 * 5 * 6).reshape(4, 5, 6), affine)
    if suffix != ".nii":
        image = LoadImage(image_only=True, ensure_channel_first=True)(path)
        SaveImage(tmp_path, "", suffix, separate_folder=False, print_log=False, resample=False)(image)
        path = str(tmp_path / f"scan{suffix}")
    expected = Orientation("RAS", labels=None)(LoadImage(image_only=True, ensure_channel_first=True)(path))
    found = Volume(path)
    assert found.shape == tuple(expected.shape[1:]) == (6, 4, 5)
    assert found.spacing == pytest.approx([2.0, 0.5, 0.7])
    assert np.allclose(found.affine, expected.affine)
    assert torch.equal(found.slab(1, 4), expected[0, ..., 1:4].as_tensor())
    grown = found.window([(-1, 3), (1, 3), (4, 6)])
    assert torch.equal(grown, expected.as_tensor()[0][[0, 0, 1, 2]][:, 1:3][..., [4, 4]])


def test_what_is_written_comes_back_and_half_of_it_does_not_stay(tmp_path):
    image = Whole(speckle((9, 7, 19)).round(), (0.5, 0.6, 3.0))
    write(tmp_path / "whole.nii", image)
    assert torch.equal(Volume(tmp_path / "whole.nii").slab(0, 19), image.image)
    assert np.allclose(nibabel.load(tmp_path / "whole.nii").affine, image.affine)
    half = create(tmp_path / "half.nii", image.shape, image.affine)
    with pytest.raises(ValueError, match=r"half\.nii lacks 9 of 19 slices"), half as append:
        append(image.slab(0, 10))
    assert [file.name for file in tmp_path.iterdir()] == ["whole.nii"]


def test_what_no_volume_is_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nii' does not exist"):
        Volume("nowhere.nii")
    with pytest.raises(ValueError, match=r"shape \(4, 5, 6, 2\); "):
        Volume(save(tmp_path / "channels.nii", torch.zeros(4, 5, 6, 2)))


# Metrics


def test_metrics_are_monai_s():
    target = speckle((40, 33, 21))
    result = target + speckle(target.shape, 10, 50)
    found = compare(Whole(result), Whole(target))
    scaled = [((x.clamp(*LUNG) - LUNG[0]) / 1200).movedim(-1, 0)[:, None] for x in (result, target)]
    for name, metric in {"ssim": SSIMMetric(2, data_range=1.0), "mae": MAEMetric(), "mse": MSEMetric()}.items():
        values = metric(*scaled).flatten()
        assert found.slices[name] == pytest.approx(values.numpy(), rel=1e-5), name
        assert found.mean(name) == pytest.approx(metric.aggregate().item(), rel=1e-5), name


def test_blocks_are_means_of_blocks():
    shape = (2 * BLOCK[0] + 5, BLOCK[1], 2 * BLOCK[2] + 3)
    target, result = torch.full(shape, -400.0), torch.full(shape, -400.0)
    result[BLOCK[0] : 2 * BLOCK[0], :, BLOCK[2] : 2 * BLOCK[2]] += 120  # a tenth of the window, in the last block
    found = compare(Whole(result), Whole(target))
    assert found.blocks["mae"] == pytest.approx([0, 0, 0, 0.1])
    assert found.blocks["mse"] == pytest.approx([0, 0, 0, 0.01])
    assert found.blocks["ssim"][:2] == pytest.approx([1, 1])
    assert found.blocks["ssim"][3] < found.blocks["ssim"][2] < 1  # whose window reaches into the last


def test_a_small_image_is_one_block():
    found = compare(Whole(speckle((20, 21, 3))), Whole(speckle((20, 21, 3))))
    assert all(len(values) == 1 for values in found.blocks.values())
    assert found.blocks["ssim"][0] == pytest.approx(found.mean("ssim"))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must be of one shape, at least 11 voxels"):
        compare(Whole(torch.zeros(20, 20, 3)), Whole(torch.zeros(20, 20, 4)))


# Seams


def seam_of(image, target, faces):
    return seam(jumps(Whole(image)), jumps(Whole(target)), faces)


def test_a_step_at_every_face_is_seen_and_noise_is_not():
    shape = (96, 96, 64)
    target = speckle(shape, std=20.0)
    faces = faces_of(grid(shape, 32), shape)
    assert faces == [[32, 64], [32, 64], [32]]
    assert seam_of(target, target, faces) == 1
    assert seam_of(speckle(shape, std=50.0), target, faces) == pytest.approx(1, abs=0.02)
    tiles = target.clone()
    tiles[32:64] += 40
    tiles[:, 32:64] += 40
    tiles[..., 32:] += 40
    assert seam_of(tiles, target, faces) > 1.5
    assert seam_of(tiles, target, faces_of(grid(shape, 24), shape)) < 1.1  # looked for elsewhere


def test_anatomy_that_differs_from_place_to_place_is_no_seam():
    """Noise thrice as strong beyond voxel 90, an edge at 101: a face nearby is as its neighbours and the target are."""
    target = speckle((128, 64, 16), std=10.0)
    target[90:] = 3 * (target[90:] + 400) - 400
    target[101:] += 200
    result = (target + 400) / 2 - 400 + speckle(target.shape, 0, 1.0)
    assert seam_of(result, target, [[101], [], []]) == pytest.approx(1, abs=0.02)
    assert seam_of(result, target, [[99], [], []]) == pytest.approx(1, abs=0.02)
    assert math.isnan(seam_of(result, target, [[], [], []]))


@pytest.mark.parametrize("first", [16, 17])
def test_what_was_upsampled_everywhere_is_no_seam(first):
    """Each coarse voxel doubled: no jump inside it, a whole one behind it, wherever the tiles are."""
    shape = (128, 128, 16)
    target = speckle(shape, std=20.0)
    result = speckle((64, 64, 16), 1, 20.0).repeat_interleave(2, 0).repeat_interleave(2, 1) + speckle(shape, 2, 1.0)
    faces = [list(range(first, 128, 16)), list(range(first, 128, 16)), []]
    assert seam_of(result, target, faces) == pytest.approx(1, abs=0.02)


def test_jumps_by_hand():
    image = torch.tensor([0.0, 0.0, 120.0, -120.0]).reshape(1, 1, 4).repeat(2, 2, 1)
    x, y, z = jumps(Whole(image))
    assert x == pytest.approx([0]) and y == pytest.approx([0])
    assert z == pytest.approx([0, 0.1, 0.2])
    deep = Whole(torch.arange(20.0).repeat(2, 2, 1) * 12)
    assert jumps(deep)[2] == pytest.approx([0.01] * 16 + [1 / 150, 0, 0], abs=1e-6)  # cut at 200 HU


def test_windows_lie_where_monai_puts_them():
    from monai.data.utils import dense_patch_slices

    for size, side, overlap in ((100, 32, 5), (86, 32, 5), (200, 96, 24), (20, 32, 5)):
        length = min(side, size)
        step = side - overlap if size > side else size
        expected = [(part.start, part.stop) for (part,) in dense_patch_slices((size,), (length,), (step,))]
        assert grid((size,), side, side - overlap) == [expected]


# Densitometry


def chest(shape=(48, 48, 16)):
    """A body in air, with a lung of -800 HU that holds a tenth of bullae at -980 HU."""
    image = torch.full(shape, -1000.0)
    image[4:-4, 4:-4] = 40
    image[12:32, 12:32] = -800
    image[12:14, 12:32] = -980
    return image


def test_densitometry_looks_at_the_lung_alone():
    target = Whole(chest())
    lung = lung_blocks(target)
    truth = densitometry(target, target, lung)
    assert (truth.below, truth.mean) == (pytest.approx(10.0), pytest.approx(-818.0))
    darker = target.image.clone()
    darker[14:16, 12:32] = -960
    darker[40:44] = -1000  # outside the lung: not counted
    found = densitometry(Whole(darker), target, lung)
    assert (found.below, found.mean) == (pytest.approx(20.0), pytest.approx(-834.0))


def test_without_lungs_there_is_no_densitometry():
    body = Whole(torch.full((24, 24, 8), 40.0))
    found = densitometry(body, body, lung_blocks(body))
    assert math.isnan(found.below) and math.isnan(found.mean)


# Significance


def test_the_t_test_is_scipy_s_and_says_nothing_of_one_case():
    a, b = np.array([0.9, 0.8, 0.85, 0.7]), np.array([0.7, 0.75, 0.8, 0.72])
    assert paired_p(a, b) == pytest.approx(ttest_rel(a, b).pvalue)
    assert math.isnan(paired_p([0.9], [0.8])) and p_text(paired_p([0.9], [0.8])) == "-"
    assert paired_p(a, a) == 1 and paired_p([1.0, 2.0], [2.0, 3.0]) == 0
    assert (p_text(0.0), p_text(0.0123)) == ("< 0.0001", "0.012")


# Noise power


def test_the_spectrum_of_white_noise_is_flat_and_of_its_power():
    std, mm = 10.0, 0.5
    image = Whole(speckle((10 * SIDE, 10 * SIDE, 4), mean=50, std=std), (mm, mm, 1.0))
    places = flat_places(image)
    assert len(places) == 200 and not flat_places(Whole(torch.full((48, 48, 2), -800.0)))
    frequency, power = noise_spectrum(image, places)
    assert power[3:] == pytest.approx(std**2 * mm**2, rel=0.1)
    assert 0 < frequency[0] < frequency[-1] < 0.5 / mm


# Cases


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    phantom = ThoraxPhantom((64, 56, 20), (0.9, 0.9, 3.0))
    return save(tmp_path_factory.mktemp("scan") / "scan.nii.gz", phantom[...], phantom.affine)


@pytest.mark.parametrize("thickness", [1, 3])
def test_a_simulated_pair_is_that_of_the_whole_volume(scan, tmp_path, thickness):
    how = Acquisition("drawn", seed=3, slice_thickness=thickness).drawn(0)
    pair = SimulatedCase(scan, how).prepare(tmp_path, 11)
    image = Volume(scan)
    bounds = [
        (-far, size + far) for far, size in zip(scanner.acquisition_margin(3, thickness), image.shape, strict=True)
    ]
    whole = scanner.acquire(
        image.window(bounds), image.spacing, (scanner.SOFT, how.kernel), how.dose, how.seed,
        origin=[a for a, _ in bounds], slice_thickness=thickness,
    )  # fmt: skip
    for path, expected in zip((pair.target, pair.source), whole, strict=True):
        assert torch.equal(Volume(path).slab(0, 11), expected[..., 4:15])
    assert np.allclose(Volume(pair.source).affine @ (0, 0, 0, 1), image.affine @ (0, 0, 4, 1), atol=1e-4)


def test_the_middle():
    assert central(30, 10) == (10, 20) and central(5, 10) == central(5, None) == (0, 5)
    assert central(30, 10, at=1) == (20, 30)
    with pytest.raises(ValueError, match="slices 0 must be at least 1"):
        central(30, 0)


def test_folds_are_those_of_training(tmp_path):
    from monai.data import partition_dataset

    for name in "abcdef":
        (tmp_path / f"{name}.nii").write_bytes(b"")
    kernels = [Acquisition("one", scanner.SHARP, 20.0), Acquisition("drawn", seed=2)]
    data = [{"image": str(tmp_path / f"{name}.nii")} for name in "abcdf"]
    for fold, part in enumerate(partition_dataset(data, num_partitions=2, shuffle=True, seed=0)):
        cases = find_cases(dataset_dir=str(tmp_path), kernels=kernels, fold=fold, num_folds=2, held_out=["e.nii"])
        assert {case.path for case in cases} == {item["image"] for item in part} and len(cases) == 2 * len(part)
        again = find_cases(dataset_dir=str(tmp_path), kernels=kernels, fold=fold, num_folds=2, held_out=["e"])
        assert again == cases
    drawn = [case.acquisition for case in cases if case.acquisition.name == "drawn"]
    assert len({how.kernel for how in drawn}) == len(drawn) and all(15 <= how.dose <= 1000 for how in drawn)
    assert {case.acquisition.dose for case in cases if case.acquisition.name == "one"} == {20.0}
    tuning = tuning_cases(str(tmp_path))
    assert len(tuning) == 12 and not {case.acquisition.kernel for case in tuning} & {how.kernel for how in drawn}
    assert tuning_cases(None) == []
    with pytest.raises(FileNotFoundError, match="held_out holds 'nosuch', but there is no such image beside"):
        find_cases(dataset_dir=str(tmp_path), kernels=kernels, held_out=["nosuch"])
    with pytest.raises(ValueError, match=r"held_out \['zz'\] names images of dataset_dir, which is not given;"):
        find_cases(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), held_out=["zz"])
    with pytest.raises(ValueError, match="held_out leaves no image of dataset_dir"):
        find_cases(dataset_dir=str(tmp_path), kernels=kernels, held_out=list("abcdef"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to evaluate: give source and target, or dataset_dir"),
        ({"source": "a.nii"}, "source 'a.nii' and target None belong together"),
        ({"source": "a.nii", "target": "b.nii"}, "source 'a.nii' does not exist"),
        ({"dataset_dir": "nowhere"}, "dataset_dir 'nowhere' does not exist"),
        ({"dataset_dir": ".", "fold": 2, "num_folds": 2}, "fold 2 is not one of 0 to 1"),
    ],
)
def test_bad_input_gives_one_clear_error(given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_cases(**given)


def test_images_that_do_not_belong_together_are_refused(scan, tmp_path):
    (tmp_path / "out").mkdir()
    other = save(tmp_path / "other.nii", torch.zeros(64, 56, 19))
    with pytest.raises(ValueError, match=r"source .*\(64, 56, 20\) .* do not lie on one grid"):
        RealCase(scan, other).prepare(tmp_path / "out", None)
    assert not any((tmp_path / "out").iterdir())
    folders = [tmp_path / name for name in ("sharp", "soft")]
    for folder, names in zip(folders, ("ab", "ac"), strict=True):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.nii").write_bytes(b"")
    with pytest.raises(ValueError, match=r"files of the same names; 'b\.nii' is in one only"):
        find_cases(*map(str, folders))


def test_two_cases_of_one_name_are_refused(tmp_path):
    """The files of one would replace those of the other."""
    for folder in ("sharp", "soft"):
        (tmp_path / folder).mkdir()
        for name in ("a.nii", "a.nii.gz", "b.nii.gz"):
            (tmp_path / folder / name).write_bytes(b"")
    given = str(tmp_path / "sharp"), str(tmp_path / "soft")
    with pytest.raises(ValueError, match=r"cases '.*a\.nii' and '.*a\.nii\.gz' are both named 'a'; rename one"):
        check_names(find_cases(*given))
    one = [Acquisition("one", scanner.SHARP, 20.0)]
    with pytest.raises(ValueError, match=r"are both named 'a_one_0\.5'"):
        check_names(find_cases(dataset_dir=given[0], kernels=one))
    check_names(find_cases(*given, names=["a.nii", "b"], dataset_dir=given[0], kernels=one)[:2])
    with pytest.raises(ValueError, match=r"names holds '.*b\.nii\.gz' twice, as 'b' and 'b\.nii\.gz'; give it once"):
        find_cases(*given, names=["b", "b.nii.gz"])
    with pytest.raises(ValueError, match=r"names holds 'a', which is '.*a\.nii' and '.*a\.nii\.gz'; give the suffix"):
        find_cases(*given, names=["a"])
