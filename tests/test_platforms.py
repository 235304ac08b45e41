"""Nothing in the bundle needs Linux: by what it imports and opens, its numbers on Apple's GPUs, and a whole run."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bundle.cascade import CascadeInferer
from bundle.images import create_image, held
from bundle.runtime import has_bfloat16
from bundle.runtime.settings import check_settings
from tests.laws import TOLERANCE, image, tiny_cascade

ROOT = Path(__file__).parents[1]
FILES = [path for folder in ("bundle", "apps/command", "apps/viewer") for path in sorted((ROOT / folder).rglob("*.py"))]
FILES = [path for path in FILES if "node_modules" not in path.parts] + [ROOT / "apps" / "preview.py"]
#: Modules that Windows lacks.
POSIX = {"crypt", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
#: What takes a text's encoding, which systems have each their own of, and how many arguments say it in its place.
READS = {"read_text": 1, "write_text": 2}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def names(node):
    if isinstance(node, ast.Import):
        return {name.name.partition(".")[0] for name in node.names}
    return {str(node.module).partition(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()


def unsaid(path):
    """The lines in which a text is read or written in the encoding of the system."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        said = [word.value for word in node.keywords if word.arg == "mode"] + node.args
        modes = [part.value for part in said if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        text = name == "open" and modes and set(modes[0]) <= set("rwatx+") and "b" not in modes[0]
        if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "zarr":
            continue
        bare = name == "open" and isinstance(node.func, ast.Attribute) and not node.args and not node.keywords
        if text or bare or (name in READS and len(node.args) < READS[name]):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"
        if any(word.arg in ("text", "universal_newlines") for word in node.keywords):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_module_needs_one_that_windows_lacks():
    """Those are imported where a failure is caught, or in a function."""
    found = {path: set().union(*map(names, tree_of(path).body)) & POSIX for path in FILES}
    assert len(found) > 100 and not {path: name for path, name in found.items() if name}


def test_every_text_has_its_encoding():
    assert [line for path in FILES for line in unsaid(path)] == []


def test_a_text_without_one_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(
        "p.read_text()\np.write_text(t)\nopen(p, 'w')\np.open()\nrun(c, text=True)\n"
        "p.read_text('utf-8')\np.open('rb')\nzarr.open(mode='r')\n"
    )
    assert list(unsaid(tmp_path / "a.py")) == [f"a.py:{line}" for line in (1, 2, 3, 4, 5)]


def test_what_training_reads_with_goes_to_a_process_that_is_no_fork(tmp_path):
    """Windows and macOS start the processes of a data loader anew: all that it holds is pickled."""
    for number in range(3):
        nibabel.Nifti1Image(np.zeros((20, 18, 16), np.int16), np.eye(4)).to_filename(tmp_path / f"{number}.nii")
    for scale in (0, 2):
        parser = ConfigParser()
        parser.read_config(str(ROOT / "configs" / "train.json"))
        parser.update({"bundle_root": str(ROOT), "dataset_dir": str(tmp_path), "scale": scale, "num_folds": 3})
        dataset = pickle.loads(pickle.dumps(parser.get_parsed_content("train#dataset")))
        assert len(dataset.data) == 2 and len(dataset.transform.transforms) > 5


class WithoutDoubles(TorchDispatchMode):
    """Refuse numbers of 64 bits, as Apple's GPUs do."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(isinstance(each, torch.Tensor) and each.dtype == torch.float64 for each in tree_leaves(out)):
            raise TypeError(f"{func} makes a float64, which the MPS framework does not support")
        return out


@pytest.mark.parametrize("conditioning", ["image", "anchored", "sketch", "none"])
def test_the_networks_need_no_float64(spatial_dims, conditioning):
    cascade, x = tiny_cascade(spatial_dims, conditioning), image((40, 36, 30)[:spatial_dims])
    with torch.no_grad(), WithoutDoubles():
        assert cascade(x).dtype == torch.float32
    with pytest.raises(TypeError, match="float64"), WithoutDoubles():
        x.double()


@pytest.mark.parametrize("weights", sorted((ROOT / "models").glob("*.pt")), ids=lambda path: path.name)
def test_weights_need_no_float64(weights):
    state = torch.load(weights, map_location="cpu", weights_only=True)
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.float16, torch.bfloat16, torch.int64}


def test_apple_s_gpu_is_taken_where_torch_has_it(monkeypatch):
    for there in (False, True):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: there)
        if there:
            check_settings(device="mps")
            with pytest.raises(ValueError, match=r"device 'cuda:99' is not there; take one of cpu, .*mps"):
                check_settings(device="cuda:99")
            continue
        with pytest.raises(ValueError, match="device 'mps' is not there; take one of cpu"):
            check_settings(device="mps")
    assert has_bfloat16("mps") is False


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")],
)
def test_a_full_device_halves_the_tile_whatever_it_says(monkeypatch, error):
    cascade, x = tiny_cascade(2), image((40, 36))
    whole, forward = CascadeInferer(32, progress=False)(x, cascade), type(cascade).forward

    def full(self, conditions, scale=-1, spacing=None):
        if conditions.numel() > 2000:
            raise error
        return forward(self, conditions, scale, spacing)

    monkeypatch.setattr(type(cascade), "forward", full)
    with pytest.warns(UserWarning, match="continuing with halves"):
        result = CascadeInferer(32, progress=False)(x, cascade)
    assert (result - whole).abs().max() <= TOLERANCE
    monkeypatch.setattr(type(cascade), "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("another")))
    with pytest.raises(RuntimeError, match="another"):
        CascadeInferer(32, progress=False)(x, cascade)


#: Runs a command of MONAI's twice under Windows' rules, and tells what is there after each.
TWICE = """
import os, runpy, sys
from tests.like_windows import install
install()
given = ["monai.bundle", *sys.argv[1:]]
for streaming in ("False", "True"):
    sys.argv = [*given, "--streaming", streaming]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    print("there:", ascii(sorted(os.listdir(given[-1]))))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info < (3, 11), reason="imitates Windows on Linux, from 3.11 on"
)
def test_inference_keeps_windows_rules(tmp_path):
    """In memory, then once more on disk, which replaces the first results; printed by a terminal of few letters."""
    voxels = np.random.default_rng(0).integers(-1000, 200, (40, 36, 16)).astype(np.int16)
    for name in ("影像.nii.gz", "b.mha"):
        with create_image(tmp_path / "in" / name, held(voxels, np.diag([2.0, 2.0, 3.0, 1.0])), np.int16) as write:
            write(tuple(slice(0, side) for side in voxels.shape), voxels)
    command = [sys.executable, "-c", TWICE, "run", "inference", "--config_file", "configs/inference.json"]
    command += ["--check_input", "off", "--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="cp1252")
    assert done.returncode == 0, done.stderr[-2000:]
    names = ["b_translated.mha", "影像_translated.nii.gz"]
    names = sorted([*names, *(f"{name}.provenance.json" for name in names)])
    *runs, end = done.stdout.split(f"there: {names!a}\n")
    assert len(runs) == 2 and not end
    assert all("\\u5f71\\u50cf_translated.nii.gz" in run for run in runs)
