"""The commands of the README and docs/evaluation.md, as they are printed, on small images."""

import csv
import re
import shlex
import shutil
import subprocess

import pytest
import torch
from monai.bundle import ConfigParser

from bundle.examples.phantom.__main__ import write
from tests.processes import ROOT, ran

PAGES = ("README.md", "docs/evaluation.md")
#: Values of the printed commands that are placeholders for the user's own images.
PLACES = {"source": "sharp", "target": "soft", "dataset_dir": "soft", "tuning_dir": "soft"}


def printed():
    """Each command that evaluates, as Python's words: those of MONAI, and what make runs."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line)
                if words[:2] == ["make", "table1"] and shutil.which("make"):
                    told = subprocess.run(
                        ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
                    )
                    (line,) = (each for each in told.stdout.replace("\\\n", " ").splitlines() if " evaluating " in each)
                    words = shlex.split(line)
                if "evaluating" in words:
                    found.append(pytest.param(words[1:], id=f"{page} {' '.join(words[6:])[:60]}"))
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folders of a sharp and a soft scan, 40 x 34 x 4, and random weights of the default network."""
    folder = tmp_path_factory.mktemp("images")
    for name, noise in (("sharp", 60.0), ("soft", 10.0)):
        write(str(folder / name / "scan.nii.gz"), shape=(40, 34, 4), spacing=(1.5, 1.5, 4.0), noise=noise)
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "random.pt")
    return folder


def test_both_kinds_of_commands_are_printed():
    commands = [" ".join(each.values[0]) for each in printed()]
    assert any("--source" in each for each in commands) and any("--dataset_dir" in each for each in commands)


@pytest.mark.parametrize("words", printed())
def test_a_printed_evaluation_runs(words, images, tmp_path):
    """With other images, an output_dir of its own, and few slices and methods, one of them with networks."""
    given, kinds = list(words), {"real": "--source" in words, "simulated": "--dataset_dir" in words}
    for key, place in PLACES.items():
        if f"--{key}" in given:
            given[given.index(f"--{key}") + 1] = str(images / place)
    given[given.index("--output_dir") + 1] = str(tmp_path / "out")
    given += [
        "--evaluation#slices",
        "2",
        "--evaluation#only",
        "['gaussian_085','ours']",
        "--weights",
        f"{images}/random.pt",
    ]
    if fresh := kinds == {"real": True, "simulated": False}:  # a process for each method takes seconds
        given[given.index("--evaluation#only") + 1] = "['ours']"
    else:
        given += ["--evaluation#fresh", "False"]
    done = ran(*given, "--device", "cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["kind"] for row in rows} == {kind for kind, there in kinds.items() if there}
    for kind in {row["kind"] for row in rows}:
        methods = {row["method"]: float(row["ssim"]) for row in rows if row["kind"] == kind}
        assert (
            methods.keys() == {"source", "ours", "target", *([] if fresh else ["gaussian_085"])}
            and methods["ours"] < methods["target"] == 1
        )
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8").strip() in done.stdout
