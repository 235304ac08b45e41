"""Run the steps of a Dockerfile in root folders, and then the built image, as a container would.

::

    base --copied--> 0 --RUN, COPY-->        the Debian of mmdebstrap replaces the image named by FROM
    base --copied--> 1 --COPY --from=0-->    the last one is the image
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from string import Template

from apps.container.dockerfile import Stage, Step, read_dockerfile

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCKERFILE = HERE / "Dockerfile"
#: Search path of a system's programs.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def enter(root: Path, command: Sequence[str], variables: Mapping[str, str], **setup: str) -> None:
    """Run a command in a root folder with some variables; ``setup`` sets further variables of ``enter.sh`` by name.

    Raises:
        subprocess.CalledProcessError: If the command fails.
    """
    inside = ["env", *(f"{name}={value}" for name, value in variables.items()), *command]
    subprocess.run([str(HERE / "enter.sh"), str(root), *inside], env={**os.environ, **setup}, check=True)


def variables_of(stage: Stage) -> dict[str, str]:
    """Return the variables that ``ENV`` sets in a stage."""
    found = {"PATH": PATH}
    for step in stage.all("ENV"):
        found |= {name: Template(value).safe_substitute(found) for name, value in step.pairs().items()}
    return found


def build(folder: Path, arguments: Mapping[str, str] | None = None, suite: str = "bookworm", mirror: str = "") -> Path:
    """Build the last stage of the Dockerfile and return its root folder; results of an interrupted run are reused.

    Args:
        folder: folder of the root folders.
        arguments: build arguments, as in `read_dockerfile`.
        suite: suite of the Debian that replaces the base image.
        mirror: mirror of its packages; empty for Debian's own.

    Raises:
        subprocess.CalledProcessError: If a step fails.
    """
    base, context = folder / "base", folder / "context"
    if not (base / "etc" / "debian_version").exists():
        base.mkdir(parents=True, exist_ok=True)
        made = ["mmdebstrap", "--quiet", "--variant=minbase", suite, str(base), *filter(None, [mirror])]
        subprocess.run(made, check=True)
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(context)], input=archive, check=True)
    roots: dict[str, Path] = {}
    for number, stage in enumerate(read_dockerfile(DOCKERFILE, arguments)):
        root = roots[stage.name or str(number)] = folder / str(number)
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        values: dict[str, str] = {}
        for step in stage.steps:
            print(f"{number}: {step.word} {step.text}", flush=True)
            values |= step.pairs() if step.word == "ARG" else {}
            if step.word == "RUN":
                enter(root, ["/bin/sh", "-c", step.text], {**variables_of(stage), **values})
            elif step.word == "COPY":
                copy(step, root, context, roots)
            elif step.word == "WORKDIR":
                (root / step.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return root


def copy(step: Step, root: Path, context: Path, roots: Mapping[str, Path]) -> None:
    """Do what ``COPY`` does: copy the contents of a folder; a destination that ends in / is a folder."""
    words = step.text.split()
    if words[0].startswith("--from="):
        context = roots[words.pop(0).removeprefix("--from=")]
    place = root / words[-1].lstrip("/")
    for source in (context / word.lstrip("/") for word in words[:-1]):
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
        else:
            target = place / source.name if words[-1].endswith("/") else place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def run(root: Path, words: Sequence[str], data: Path, user: str = "", entrypoint: Sequence[str] = ()) -> None:
    """Run the built image, as ``docker run --network none --read-only --volume data:/data`` does.

    Args:
        root: root folder of the image.
        words: arguments of the command line; none for those of ``CMD``.
        data: a folder of this machine, mounted writable as ``/data``.
        user: user and group id such as "1234:1234"; empty for the image's user.
        entrypoint: program to run instead of the image's entrypoint.

    Raises:
        subprocess.CalledProcessError: If the program fails.
    """
    stage = read_dockerfile(DOCKERFILE)[-1]
    program = [*(entrypoint or stage.all("ENTRYPOINT")[-1].words()), *(words or stage.all("CMD")[-1].words())]
    place = PurePosixPath(stage.all("WORKDIR")[-1].text)
    setup = {"AS": user or stage.all("USER")[-1].text, "IN": str(place), "SHARE": f"{data.resolve()}:{place}"}
    enter(root, program, variables_of(stage), NETWORK="off", REGISTRY="off", SEALED="on", **setup)
