"""A Dockerfile, as stages of steps: as much of its language as ours needs, and an error for the rest."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

#: What is understood in a stage.
KNOWN = ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "RUN", "USER", "WORKDIR")


@dataclass(frozen=True)
class Step:
    """One instruction, such as ``RUN`` and what is to be run, without the ends of its lines."""

    word: str
    text: str

    def pairs(self) -> dict[str, str]:
        """The names and values of an ``ENV`` or ``ARG``; one without a value has an empty one."""
        return {name: value for name, _, value in (part.partition("=") for part in shlex.split(self.text))}

    def words(self) -> list[str]:
        """The words of an ``ENTRYPOINT`` or ``CMD``.

        Raises:
            ValueError: If they are not written as a list, which starts no shell.
        """
        try:
            found = json.loads(self.text)
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise ValueError(f'{self.word} {self.text!r} is not a list of words; write it like ["program", "--help"].')
        return [str(word) for word in found]


@dataclass
class Stage:
    """What begins with a ``FROM``: the image that it begins with, its own name, and its steps."""

    base: str
    name: str = ""
    steps: list[Step] = field(default_factory=list)

    def all(self, word: str) -> list[Step]:
        """The steps of a kind."""
        return [step for step in self.steps if step.word == word]


def read_dockerfile(path: str | Path, arguments: Mapping[str, str] | None = None) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Args:
        path: of the file.
        arguments: values of ``ARG``, as ``--build-arg`` gives them; they replace those of the file.

    Raises:
        ValueError: If it has an instruction or an argument that is not known here.
    """
    text = re.sub(r"^\s*#.*\n", "", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    given, known, stages = dict(arguments or {}), dict[str, str](), list[Stage]()
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        step = Step(word, rest.strip())
        if word == "ARG":
            values = {name: given.get(name, value) for name, value in step.pairs().items()}
            known |= values
            step = Step(word, " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items()))
        if word == "FROM":
            base, _, name = step.text.partition(" AS ")
            stages.append(Stage(Template(base).substitute(known), name))
        elif word in KNOWN and stages:
            stages[-1].steps.append(step)
        elif word and word != "ARG":
            raise ValueError(f"{path}: {line!r} is not understood; take one of FROM, {', '.join(KNOWN)}.")
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"argument {unknown[0]!r} is none of {path}; take one of {', '.join(sorted(known))}.")
    return stages
