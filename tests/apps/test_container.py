"""The container keeps its laws by the lines of its Dockerfile; `make test-container` runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from apps.container import chroot
from apps.container.dockerfile import Stage, Step, read_dockerfile

ROOT = Path(__file__).parents[2]
STAGES = read_dockerfile(chroot.DOCKERFILE)
IMAGE = STAGES[-1]


def pins(name: str) -> dict[str, str]:
    """The version that a list of requirements pins of each package, for the container's Python."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.partition("#")[0].partition(";")
        if requirement.strip() and "<" not in marker:
            package, equals, version = requirement.strip().partition("==")
            assert equals and re.fullmatch(r"[\w.]+", version), line
            found[re.sub(r"[-_.]+", "-", package).lower()] = version
    return found


def test_the_base_is_one_of_a_day() -> None:
    assert {stage.base for stage in STAGES} == {"debian:bookworm-20250520-slim"}


def test_what_is_installed_is_pinned() -> None:
    pinned, required = pins("apps/container/constraints.txt"), pins("requirements.txt")
    assert len(pinned) > len(required) > 15
    assert {name: pinned.get(name) for name in required} == required
    installs = [part for step in STAGES[0].all("RUN") for part in step.text.split("&&") if "pip install" in part]
    assert len(installs) == 3
    assert all("--constraint /build/constraints.txt" in part or "--no-deps /wheels/*.whl" in part for part in installs)


def test_nobody_is_root_and_nothing_is_installed_when_it_runs() -> None:
    words = [step.word for step in IMAGE.steps]
    assert words[-3:] == ["USER", "ENTRYPOINT", "CMD"] and words.count("USER") == 1
    user, group = map(int, IMAGE.all("USER")[0].text.split(":"))
    assert user >= 1000 and group >= 1000
    assert [step.text.split()[0] for step in IMAGE.all("RUN")] == ["apt-get"]
    assert "pip" not in " ".join(step.text for step in IMAGE.steps)


def test_nothing_comes_from_an_address_but_packages() -> None:
    text = chroot.DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(ADD|EXPOSE)\b|\b(curl|wget|git clone)\b", text, re.MULTILINE)
    assert re.findall(r"https?://\S+", text) == ["https://download.pytorch.org/whl/cpu"]


def test_the_program_is_the_wheel_s_command() -> None:
    (program,) = IMAGE.all("ENTRYPOINT")[0].words()
    assert f"\n{program} = " in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert IMAGE.all("CMD")[0].words() == ["--help"]


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    """The weights among it; and each source is there, in the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("needs a clone, of which git lists the files")
    sources = [word for step in STAGES[0].all("COPY") for word in step.text.split()[:-1]]
    assert all(any(file == word or file.startswith(f"{word}/") for file in listed.stdout.split()) for word in sources)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    included = project.partition("[tool.hatch.build.targets.wheel.force-include]")[2].partition("[")[0]
    needed = [*re.findall(r'^"([^"]+)" =', included, re.MULTILINE), "README.md", "apps/command"]
    assert "models" in needed
    assert not [name for name in needed if not any(name == word or name.startswith(f"{word}/") for word in sources)]


def test_cuda_is_an_argument() -> None:
    def index(arguments: dict[str, str]) -> str:
        return read_dockerfile(chroot.DOCKERFILE, arguments)[0].all("ARG")[0].pairs()["TORCH_INDEX"]

    assert index({}).endswith("/whl/cpu") and index({"TORCH_INDEX": ""}) == ""
    assert read_dockerfile(chroot.DOCKERFILE, {"BASE": "debian:trixie"})[-1].base == "debian:trixie"
    with pytest.raises(ValueError, match=r"argument 'TORCH' is none of .*; take one of BASE, TORCH_INDEX"):
        read_dockerfile(chroot.DOCKERFILE, {"TORCH": ""})


def test_a_dockerfile_is_read(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        'ARG BASE=a:1\n# a comment\nFROM $BASE AS first\nRUN one && \\\n# inside\n    two "x"\nENV A=1 B="2 3"\n'
        'FROM first\nCMD ["a", "-b"]\n'
    )
    first, second = read_dockerfile(file, {"BASE": "b:2"})
    assert first == Stage("b:2", "first", [Step("RUN", 'one && two "x"'), Step("ENV", 'A=1 B="2 3"')])
    assert first.steps[1].pairs() == {"A": "1", "B": "2 3"}
    assert second.base == "first" and second.steps[0].words() == ["a", "-b"]
    with pytest.raises(ValueError, match="is not a list of words"):
        Step("CMD", "a -b").words()
    file.write_text("FROM a:1\nADD https://a.b/c /c\n")
    with pytest.raises(ValueError, match=r"'ADD https://a.b/c /c' is not understood; take one of FROM, ARG, CMD"):
        read_dockerfile(file)


def test_copy_puts_files_where_docker_does(tmp_path: Path) -> None:
    context, root, other = (tmp_path / name for name in ("context", "root", "other"))
    (context / "folder").mkdir(parents=True)
    (context / "folder" / "a").write_text("a")
    (context / "b").write_text("b")
    (other / "opt").mkdir(parents=True)
    (other / "opt" / "c").write_text("c")
    for text in ("folder /x/folder", "b /x/y/", "b /z", "--from=build /opt /opt"):
        chroot.copy(Step("COPY", text), root, context, {"build": other})
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"x/folder/a", "x/y/b", "z", "opt/c"}


def test_it_runs_without_network_and_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the script that enters the system is told."""
    calls = []
    monkeypatch.setattr(chroot.subprocess, "run", lambda command, env, check: calls.append((command, env, check)))
    chroot.run(tmp_path / "root", ["scan.nii", "out"], tmp_path)
    ((command, told, check),) = calls
    assert command[1:3] == [str(tmp_path / "root"), "env"] and command[-3:] == [
        "ct-kernel-translation",
        "scan.nii",
        "out",
    ]
    assert f"PATH=/opt/ct/bin:{chroot.PATH}" in command and "LOGNAME=ct" in command and check
    assert told["NETWORK"] == "off" and told["SEALED"] == "on" and told["REGISTRY"] == "off"
    assert told["AS"] == "1000:1000" and told["SHARE"] == f"{tmp_path}:/data" and told["IN"] == "/data"


@pytest.mark.skipif(sys.platform != "linux", reason="the scripts are for Linux")
@pytest.mark.parametrize("name", ["enter.sh", "bare_debian.sh"])
def test_the_scripts_say_what_they_need(name: str, tmp_path: Path) -> None:
    """Their grammar is right, and whoever is not root is told so."""
    script = ROOT / "apps" / "container" / name
    subprocess.run(["bash", "-n", str(script)], check=True)
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([str(script), "/nowhere", "true"], env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and re.fullmatch(
        r"error: .* needs root on Linux; say sudo -E make \.\.\.\n", done.stderr
    )


def test_the_page_s_commands_are_those_of_the_container() -> None:
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    build, run, *_ = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[0].splitlines()
    given = build.split()
    assert (ROOT / given[given.index("--file") + 1]).samefile(chroot.DOCKERFILE) and given[-1] == "."
    assert f" {given[given.index('--tag') + 1]} scan.nii.gz" in run
    assert all(flag in run for flag in ("--network none", "--read-only", "--tmpfs /tmp", ":/data"))
    assert {name for stage in STAGES for step in stage.all("ARG") for name in step.pairs()} <= set(
        re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)
    )
