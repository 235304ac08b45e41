"""The commands that the documents show are ones that there are."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from ct_kernel_translation_gan.verbs import DEFAULT, OTHERS, VERBS
from ct_kernel_translation_gan.words import flags, split

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

CONFIGS = {"infer": "inference", "table1": "evaluate", "train": "train"}


def commands(page):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        yield from block.replace("\\\n", " ").strip().splitlines()


def configs(names):
    """What a run is made of; an overlay with keys of a block that is not there is refused."""
    parser = ConfigParser()
    parser.read_config([str(ROOT / path) for path in re.findall(r"configs/\w+\.json", names)])
    return parser


def keys(words):
    """The keys that a command sets."""
    return {word[2:] for word in words if word.startswith("--")} - {"config_file", "meta_file"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_lead_somewhere(page):
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in TARGETS, command
        if "--config_file" in words:
            config = configs(words[words.index("--config_file") + 1])
            if "run" in words:
                assert words[words.index("run") + 1] in config, command
                assert all(key in config for key in keys(words)), command
        if words[0] == "ct-kernel-translation":
            given, options = split(words[1:], flags(ROOT))
            verb = given[0] if given[0] in (*VERBS, *OTHERS) else DEFAULT
            files = "".join(f"configs/{name}.json " for name in VERBS[verb].configs) if verb in VERBS else ""
            assert verb in OTHERS or {*options} <= {"experiment", *configs(files).get()}, command
        if words[0] == "make" and words[1] in CONFIGS:
            config = configs(f"configs/{CONFIGS[words[1]]}.json")
            given = [value for word in words for name, _, value in [word.partition("=")] if name == "ARGS"]
            assert all(key in config for text in given for key in keys(shlex.split(text))), command
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_targets_named_in_running_text_exist():
    named = {word for page in PAGES for word in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8"))}
    assert named and named <= TARGETS


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target}" in listed for target in TARGETS)


def test_the_index_has_every_page():
    named = set(re.findall(r"\]\(([a-z_]+\.md)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES[1:]} - {"index.md", "README.md"} <= named


def test_wishes_have_tests():
    rows = re.findall(r"^\| (\d+) \|.*\| `(\S+)` \|$", (ROOT / "docs" / "wishes.md").read_text(encoding="utf-8"), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert all((ROOT / test).exists() for _, test in rows), rows


@pytest.mark.parametrize("page", ["README.md", "docs/keys.md"])
def test_keys_of_tables_exist(page):
    config = json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))
    cells = re.findall(r"^\| (`[a-z_`, ]+`) \|", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    named = [key for cell in cells for key in re.findall("`([a-z_]+)`", cell)]
    assert len(named) > 8 and set(named) <= set(config)


def test_keys_of_blocks_that_pages_name_exist():
    names = ("train", "inference", "evaluate", "train,configs/low_dose_train", "train,configs/brain_t1_t2_train")
    bases = [configs(",".join(f"configs/{part}.json" for part in name.split(",configs/"))) for name in names]
    named = {
        key for page in PAGES for key in re.findall(r"`([a-z_0-9]+(?:#[a-z_0-9]+)+)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert [key for key in named if not any(key in base for base in bases)] == []


def test_processes_on_one_machine_meet_at_the_loopback_address():
    """`--standalone` resolves the name of the machine, and not every container can."""
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    started = [line for line in lines if re.search(r"\btorchrun |torch\.distributed\.run ", line)]
    alone = [line for line in started if "--nnodes" not in line]
    meeting = re.compile(r"--rdzv_endpoint[ =]127\.0\.0\.1:0 .*--local_addr[ =]127\.0\.0\.1 ")
    assert alone and all(meeting.search(line) for line in alone)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("infer", "'configs/inference.json','configs/low_dose.json'"),
        ("train", "'configs/train.json','configs/low_dose.json' ,'configs/low_dose_train.json'"),
        ("table1", "'configs/evaluate.json','configs/low_dose_evaluate.json'"),
    ],
)
def test_make_gives_each_run_what_an_experiment_has_for_it(target, files):
    command = ["make", "-n", target, "OVERLAY=configs/low_dose.json", "DATA=scans"]
    assert f"[{files}]" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "made", [".venv/.run", ".venv-deploy/.ready", ".venv-qa/.ready", ".venv-peers/.ready", ".venv-label/.label"]
)
def test_every_environment_is_compiled_on_all_cores(made):
    """pip compiles on one: it leaves the packages of the requirements to compileall."""
    given = ["PYTHON=python3", "LABEL_PYTHON=python3", "--always-make"]
    lines = subprocess.run(["make", "-n", made, *given], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    python = f"{made.split('/')[0]}/bin/python"
    packages = [line for line in lines.splitlines() if "pip install" in line and "requirements" in line]
    assert packages and all(line.startswith(python) and "--no-compile" in line for line in packages)
    assert lines.count(f"{python} -m compileall -q -j 0") == len(packages)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("target", ["infer", "infer-ct", "qa"])
def test_make_removes_nothing_before_it_has_made_its_own(target):
    """A user's file may have the name of what is made; only what makes it can tell."""
    command = ["make", "-n", target, "OUTPUT=out", "--old-file=.venv/.run", "--old-file=.venv-qa/.ready"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "monai.bundle run inference" in told and not re.search(r"\brm\b", told)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_infer_replaces_its_own_files_alone(tmp_path):
    made = ["make", "infer", f"OUTPUT={tmp_path}", "SHAPE=40,32,16", f"PY={sys.executable}", "--old-file=.venv/.run"]
    files = ("phantom/phantom.nii.gz", "phantom/result/phantom_translated.nii.gz")

    def run():
        return subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    for name in files:  # apps.preview has a test of its own
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text("mine")
        done = run()
        assert done.returncode and (tmp_path / name).read_text() == "mine"
        assert " exists already, and is not " in done.stderr
        (tmp_path / name).write_bytes(before)
    (tmp_path / "phantom" / "result" / "notes.txt").write_text("mine")
    done = run()
    assert done.returncode == 0 and f"result   {tmp_path / files[1]}" in done.stdout
    assert (tmp_path / "phantom" / "result" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_infer_shows_a_result_that_is_a_folder(tmp_path):
    """OME-Zarr; what a killed run has left is not shown."""
    left = tmp_path / "phantom" / "result" / ".part_x" / "image" / "0.npy"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (2**32, 2**32))  # later than the result
    made = ["make", "infer", f"OUTPUT={tmp_path}", "SHAPE=40,32,16", f"PY={sys.executable}", "--old-file=.venv/.run"]
    done = subprocess.run([*made, "ARGS=--output_ext .ome.zarr"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"result   {tmp_path / 'phantom' / 'result' / 'phantom_translated.ome.zarr'}\n" in done.stdout
    assert (tmp_path / "phantom" / "preview.png").exists()
