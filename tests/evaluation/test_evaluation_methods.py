"""The competitors do what they say and find their best parameters; all of it runs by its config."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from tqdm import tqdm

from bundle import scanner
from bundle.cascade import CascadeInferer
from bundle.cascade.generators import zero_init_last
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods import (
    Ceiling,
    CoarsestInferer,
    Filtered,
    Gaussian,
    NonLocalMeans,
    Ours,
    Patch,
    RadialFilter,
    Small,
    SpectrumMatch,
    Translation,
    Windowed,
    measured,
    peak_memory,
    timed,
)
from bundle.evaluation.metrics import faces_of, jumps, seam
from bundle.examples.phantom.__main__ import write as write_phantom
from bundle.geometry import extend
from bundle.images import Volume, write
from bundle.images.own_files import is_own_file
from bundle.runtime.errors import last_line
from tests.evaluation.test_evaluation import Whole, save, speckle
from tests.laws import image, tiny_cascade, with_spacing

ROOT = Path(__file__).parents[2]
SPACING = (0.7, 0.7, 2.0)


def pair_of(folder, source, target, name="pair"):
    """Two images in memory, as files."""
    pair = Pair(name, "real", folder / f"{name}_source.nii", folder / f"{name}_target.nii")
    for path, voxels in ((pair.source, source), (pair.target, target)):
        write(path, Whole(voxels, SPACING))
    return pair


def smooth(image, sigma):
    return torch.from_numpy(gaussian_filter(image.numpy(), (sigma / SPACING[0], sigma / SPACING[1], 0)))


@pytest.fixture
def blurred(tmp_path):
    """Noise, and the same smoothed by 0.6 mm."""
    source = speckle((64, 48, 10), std=150.0)
    return pair_of(tmp_path, source, smooth(source, 0.6))


# Filters


def test_tuning_finds_the_sigma_that_made_the_target(blurred, tmp_path):
    other = pair_of(tmp_path, *(Volume(path).slab(0, 3) for path in (blurred.source, blurred.target)), "other")
    assert Gaussian().needs_tuning
    tuned = Gaussian().tuned([blurred, other])
    assert tuned.sigma == pytest.approx(0.6, rel=0.05) and not tuned.needs_tuning
    assert tuned.name == f"Gaussian, sigma {tuned.sigma:g} mm"
    assert Gaussian(1.0).tuned([blurred]).sigma == 1.0  # given: not tuned


def test_a_ceiling_is_tuned_on_the_pair_itself(blurred):
    ceiling = Ceiling(Gaussian())
    assert not ceiling.needs_tuning and ceiling.name == "Gaussian, tuned on the very pair (ceiling)"
    assert ceiling.for_pair(blurred).sigma == pytest.approx(0.6, rel=0.05)
    with pytest.raises(TypeError, match="tuned on its pair first"):
        ceiling.job(blurred.source, blurred.target)


def test_the_radial_filter_recovers_a_known_one(blurred):
    found = RadialFilter().tuned([blurred])
    frequency = (np.arange(len(found.gains)) + 0.5) * 0.02
    expected = np.exp(-2 * (np.pi * frequency * 0.6) ** 2)
    assert np.abs(np.array(found.gains) - expected)[3:35].max() < 0.05  # up to the Nyquist frequency, 0.71 cycles/mm
    made = Filtered(Volume(blurred.source), found).slab(0, 10)
    assert (made - Volume(blurred.target).slab(0, 10))[8:-8, 8:-8].abs().mean() < 3


def test_the_radial_filter_of_no_change_changes_nothing():
    image = speckle((40, 31, 5))
    made = RadialFilter((1.0,) * 100).filtered(image, SPACING)
    assert torch.allclose(made, image, atol=1e-2)
    assert scanner.frequencies((0.5, 0.5), size=4).max() == pytest.approx(math.sqrt(2))


def test_slabs_of_non_local_means_are_those_of_the_whole():
    image = speckle((20, 18, 24), std=30.0)

    @dataclass(frozen=True)
    class Thin(NonLocalMeans):
        depth = 8

    assert NonLocalMeans.halo == 6
    parts = [Filtered(Whole(image), Thin(40.0)).slab(z, z + 8) for z in (0, 8, 16)]
    whole = denoise_nl_means(image.numpy(), 3, 5, h=40.0, fast_mode=True)
    assert np.abs(torch.cat(parts, -1).numpy() - whole).max() < 0.1
    assert "h 40 HU" in NonLocalMeans(40.0).name and NonLocalMeans().needs_tuning


def test_filters_do_not_smear_metal_and_padding():
    image = speckle((32, 32, 2), std=1.0)
    image[16, 16], image[0] = 20000.0, -3000.0
    assert Filtered(Whole(image), Gaussian(1e-3)).slab(0, 2).amax() == 2000
    assert Filtered(Whole(image), Gaussian(1e-3)).slab(0, 2).amin() == -1200


def test_the_spectrum_is_matched_as_the_scanner_says(tmp_path):
    tissue = torch.full((152, 152, 8), 40.0)
    soft, sharp = scanner.acquire(tissue, SPACING, (scanner.SOFT, scanner.SHARP), 100.0)
    pair = pair_of(tmp_path, sharp, soft)
    used = SpectrumMatch().settled(Volume(pair.source))
    spacing = Volume(pair.source).spacing
    kernel = scanner.find_kernel(sharp, spacing)
    assert kernel is not None and used.kernel == kernel
    made = Filtered(Volume(pair.source), used).slab(0, 8)
    assert torch.allclose(made, scanner.matched(sharp, spacing, kernel))
    assert (made - soft).std() < 0.5 * (sharp - soft).std()
    air = SpectrumMatch().settled(Volume(save(tmp_path / "air.nii", torch.full((40, 40, 4), -900))))
    assert air.blind and torch.equal(air.filtered(tissue, SPACING), tissue)


# Seconds and memory


def test_each_method_is_measured_in_a_process_of_its_own(blurred, tmp_path):
    """What this process has held does not count."""
    np.ones(1 << 26)  # 512 MiB, beside the libraries
    assert 0.8 < peak_memory() / 2**30 < 100
    cost = measured(Gaussian(1.0), blurred.source, tmp_path / "out" / "made.nii")
    assert 0 < cost.seconds < 10 and 0.1 < cost.gibibytes < 0.7
    here = measured(Gaussian(1.0), blurred.source, tmp_path / "here.nii", fresh=False)
    assert 0 < here.seconds < 10 and math.isnan(here.gibibytes)
    assert (tmp_path / "out" / "made.nii").read_bytes() == (tmp_path / "here.nii").read_bytes()


# Networks


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of the network that is declared, of which every scale does something."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def translation(weights):
    config = str(ROOT / "configs" / "inference.json")
    return Translation(config, str(ROOT), "cpu", weights, tile_size=24)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    path = tmp_path_factory.mktemp("chest") / "chest.nii"
    write_phantom(str(path), shape=(40, 34, 6), spacing=(1.5, 1.5, 4.0), noise=60.0)
    return path


def made_by(method, source, folder):
    path = folder / "made.nii"
    timed(method, source, path)
    assert list(folder.iterdir()) == [path] and is_own_file(path)
    return Volume(path).slab(0, Volume(path).shape[2])


def test_small_is_ours_without_the_finer_generators(spatial_dims):
    """Where they add to the previous scale, and add nothing, both are one."""
    cascade = tiny_cascade(spatial_dims, "sketch")
    scan = with_spacing(image((21, 18, 15)[:spatial_dims]), (1.0, 1.0, 2.0)[:spatial_dims])
    small = CoarsestInferer()(scan, cascade)
    ours = CascadeInferer(progress=False)(scan, cascade)
    assert small.shape == ours.shape and not torch.allclose(small, ours)
    for generator in cascade.fine:
        zero_init_last(generator)
    torch.testing.assert_close(small, CascadeInferer(progress=False)(scan, cascade))


def test_small_runs_as_configured(translation, chest, tmp_path):
    for name in ("ours", "small"):
        (tmp_path / name).mkdir()
    small, ours = (
        made_by(Small(translation), chest, tmp_path / "small"),
        made_by(Ours(translation), chest, tmp_path / "ours"),
    )
    assert small.diff(dim=0).abs().mean() < 0.7 * ours.diff(dim=0).abs().mean()


def test_a_sliding_window_as_large_as_the_image_is_ours(translation, chest, tmp_path):
    for name in ("ours", "windowed"):
        (tmp_path / name).mkdir()
    ours = made_by(Ours(translation), chest, tmp_path / "ours")
    assert (made_by(Windowed(translation), chest, tmp_path / "windowed") - ours).abs().max() <= 1


def test_patches_are_made_alone_and_averaged(translation, chest, tmp_path):
    """By hand, and their faces show; ours' tiles do not."""
    network = translation.parser().get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(translation.weights, weights_only=True))
    windowed = torch.rand(1, 1, 32, 32, 6)
    far = network.reach[-1]
    both = torch.cat([windowed, torch.zeros_like(windowed)], 1)
    with torch.no_grad():
        expected = network(extend(both, far, far), network.num_scales - 1)
        assert torch.equal(Patch.translate(windowed, network, [1.0] * 3), expected)
    assert Patch(translation).windows((40, 34, 6)) == [[(0, 32), (8, 40)], [(0, 32), (2, 34)], [(0, 6)]]
    made = made_by(Patch(translation), chest, tmp_path)
    assert made.shape == (40, 34, 6) and made.isfinite().all()


def test_patches_alone_are_more_than_detail(translation):
    """There is no previous scale that detail could be added to."""
    parser = replace(translation, keys={**translation.keys, "network_def#fine#detail": 3}).parser()
    assert parser["network_def#fine#detail"] == 3
    Patch(translation).modify(parser)
    assert parser["network_def#fine#detail"] is None


def test_the_windows_of_ours_are_its_tiles(translation):
    assert Ours(translation).windows((40, 34, 6)) == [[(0, 20), (20, 40)], [(0, 17), (17, 34)], [(0, 6)]]
    assert Ours(replace(translation, tile_size=None)).windows((40, 34, 6)) == [[(0, 40)], [(0, 34)], [(0, 6)]]
    assert Ours(replace(translation, weights="nowhere.pt")).missing() == "its weights 'nowhere.pt' do not exist"


@dataclass(frozen=True)
class FarSighted(Windowed):
    """A network that looks at one voxel, however far it is."""

    side = 24
    overlap = 6

    @staticmethod
    def translate(window, cascade, spacing):  # noqa: ARG004
        return 0.2 * window - window[:, :, :1, :1, :1]


def test_tiles_of_ours_leave_no_seam_and_windows_translated_alone_do(translation, chest, tmp_path):
    target, found = Volume(chest), []
    for method in (Ours(translation), FarSighted(translation)):
        timed(method, chest, tmp_path / "made.nii")
        faces = faces_of(method.windows(target.shape), target.shape)
        found.append(seam(jumps(Volume(tmp_path / "made.nii")), jumps(target), faces))
    assert found[0] == pytest.approx(1, abs=0.05) and found[1] > 1.2


# All of it, as configured


def workflow(folder, **keys):
    made = ConfigWorkflow(
        str(ROOT / "configs" / "evaluate.json"),
        workflow_type="train",
        logging_file=False,
        init_id="initialize",
        run_id="evaluating",
        bundle_root=str(ROOT),
        output_dir=str(folder),
        device="cpu",
        **{"evaluation#fresh": False, **keys},
    )
    made.initialize()
    return made


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed in (0, 1):
        path = folder / "soft" / f"{seed}.nii.gz"
        write_phantom(str(path), shape=(72, 64, 10), spacing=(1.0, 1.0, 4.0), seed=seed, noise=5.0)
    return folder / "soft"


def test_only_files_of_an_earlier_evaluation_are_replaced(scans, weights, tmp_path):
    keys = {"source": str(scans / "0.nii.gz"), "target": str(scans / "1.nii.gz"), "weights": weights, "tile_size": 32}
    keys |= {"evaluation#slices": 4, "evaluation#only": ["gaussian_085", "ours"]}
    for _ in range(2):
        workflow(tmp_path / "own", **keys).run()
    files = [path.relative_to(tmp_path / "own") for path in (tmp_path / "own").rglob("*") if path.is_file()]
    assert {"report.md", "table.csv", "real_slices.png", "ours.nii", "0_source.nii"} <= {path.name for path in files}
    for file in files:
        folder = tmp_path / "foreign" / file.name
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text("mine")
        with pytest.raises(Exception) as error:
            workflow(folder, **keys).run()
        assert last_line(error.value) == (
            f"error: {str(folder / file)!r} exists already, and is not a file of this bundle; move it away, or take "
            "another output_dir."
        )
        assert [path for path in folder.rglob("*") if path.is_file()] == [folder / file]
        assert (folder / file).read_text() == "mine"


def test_evaluating_as_configured(scans, weights, tmp_path, capsys):
    out = tmp_path / "out"
    only = ["gaussian", "radial", "patch", "ours", "gaussian_ceiling"]
    workflow(
        out, dataset_dir=str(scans), source=str(scans), target=str(scans), tuning_dir=str(scans),
        tile_size=32, weights=weights, patch_weights="nowhere.pt", **{"evaluation#slices": 8, "evaluation#only": only},
    ).run()  # fmt: skip
    report = (out / "report.md").read_text()
    assert capsys.readouterr().out.strip() == report.strip()
    assert {file.name for file in out.iterdir()} == {
        "pairs", "results", "tuning", "report.md", "table.csv", "real_slices.png", "real_blocks.png", "real_noise.png",
        "real_enlarged.png", "simulated_enlarged.png",
        "simulated_slices.png", "simulated_blocks.png", "simulated_noise.png",
    } - {name for name in ("real_noise.png", "simulated_noise.png") if name not in report}  # fmt: skip
    assert all(name in report for name in ("Real pairs", "Simulated kernels", "n = 2 cases", "n = 4 cases, 32 slices"))
    assert (
        "patch: finest scale alone, 32 voxels, 5 overlap is left out: its weights 'nowhere.pt' do not exist." in report
    )
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    keys = ["source", "ours", "gaussian", "radial", "gaussian_ceiling", "target"]
    # An image that is its own target is not a method's source.
    assert [row["method"] for row in rows] == keys[1:] * 2 + keys * 4
    assert all(
        float(row["ssim"]) == 1
        for row in rows
        if row["method"] == "target" or (row["kind"], row["method"]) == ("real", "source")
    )
    found = {
        key: np.mean([float(row["ssim"]) for row in rows if row["kind"] == "simulated" and row["method"] == key])
        for key in keys
    }
    assert found["source"] < found["gaussian"] <= found["gaussian_ceiling"] + 0.01 < 1
    table = [line.split("|") for line in report.splitlines() if line.startswith("| ")]
    assert table[0][1].strip() == "method"
    assert len({len(row) for row in table}) == 1


def test_what_cannot_run_is_told_before_anything_is_written(scans, weights, tmp_path):
    out = tmp_path / "out"
    given = {"dataset_dir": str(scans), "weights": weights}
    for more, message in (
        ({"evaluation#only": ["gaussian"]}, "only ['gaussian'] leaves no method: "),
        ({"evaluation#only": ["magic"]}, "only names 'magic', which is not a method; take some of non_local_means"),
        (
            {"evaluation#only": ["ours"], "weights": "nowhere.pt"},
            "ours cannot run: its weights 'nowhere.pt' do not exist; train it",
        ),
        ({"overrides": {"tile_sizze": 3}}, "key --tile_sizze is unknown, 'tile_sizze' is not in the config files; did"),
        ({"evaluation#window": [200, -1000]}, "window [200, -1000] must rise, such as [-1000, 200]."),
        ({"evaluation#window": [0, 0]}, "window [0, 0] must rise"),
    ):
        with pytest.raises(RuntimeError) as caught:  # MONAI's, around ours
            workflow(out, **{**given, **more}).run()
        assert message in str(caught.value.__cause__)
    assert not out.exists()


def test_two_cases_of_one_name_end_the_run_at_once(scans, weights, tmp_path):
    write_phantom(str(tmp_path / "soft" / "0.nii"), shape=(16, 16, 4), spacing=(4.0, 4.0, 8.0))
    (tmp_path / "soft" / "0.nii.gz").write_bytes((scans / "0.nii.gz").read_bytes())
    with pytest.raises(RuntimeError) as caught:
        workflow(tmp_path / "out", dataset_dir=str(tmp_path / "soft"), weights=weights).run()
    assert "are both named '0_sharp_low_dose_0.5'" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_an_error_comes_after_the_bar(weights, tmp_path):
    """A bar that is still open would be drawn once more when the process ends, behind the error."""
    save(tmp_path / "a.nii", torch.zeros(16, 16, 4))
    save(tmp_path / "b.nii", torch.zeros(16, 16, 5))
    given = {"source": str(tmp_path / "a.nii"), "target": str(tmp_path / "b.nii"), "weights": weights}
    with pytest.raises(RuntimeError) as caught:
        workflow(tmp_path / "out", **given).run()
    assert "do not lie on one grid" in str(caught.value.__cause__) and not tqdm._instances
