"""The commands that the documents show are ones that there are."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        yield from block.replace("\\\n", " ").strip().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_lead_somewhere(page):
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in TARGETS, command
        if "--config_file" in words:
            config = {}
            for path in re.findall(r"configs/\w+\.json", words[words.index("--config_file") + 1]):
                config |= json.loads((ROOT / path).read_text())
            if "run" in words:
                assert words[words.index("run") + 1] in config, command
                keys = {word[2:] for word in words if word.startswith("--")} - {"config_file", "meta_file"}
                assert keys <= set(config), command
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_targets_named_in_running_text_exist():
    named = {word for page in PAGES for word in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}
    assert named and named <= TARGETS


def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target}" in listed for target in TARGETS)


def test_keys_of_the_readme_s_table_exist():
    config = json.loads((ROOT / "configs" / "inference.json").read_text())
    keys = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(keys) > 5 and set(keys) <= set(config)


def test_processes_on_one_machine_meet_at_the_loopback_address():
    """`--standalone` resolves the name of the machine, and not every container can."""
    blocks = [block for page in PAGES for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    started = [line for line in lines if re.search(r"\btorchrun |torch\.distributed\.run ", line)]
    alone = [line for line in started if "--nnodes" not in line]
    meeting = re.compile(r"--rdzv_endpoint[ =]127\.0\.0\.1:0 .*--local_addr[ =]127\.0\.0\.1 ")
    assert alone and all(meeting.search(line) for line in alone)
