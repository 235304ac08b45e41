"""Parse a Dockerfile into stages of steps: the part of the language that ours needs, and an error for the rest."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

#: Instructions that are supported in a stage.
KNOWN = ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "RUN", "USER", "WORKDIR")


@dataclass(frozen=True)
class Step:
    """One instruction, such as ``RUN``, and its argument, with continued lines joined."""

    word: str
    text: str

    def pairs(self) -> dict[str, str]:
        """Return the names and values of an ``ENV`` or ``ARG``; a missing value is empty."""
        return {name: value for name, _, value in (part.partition("=") for part in shlex.split(self.text))}

    def words(self) -> list[str]:
        """Return the words of an ``ENTRYPOINT`` or ``CMD``.

        Raises:
            ValueError: If they are not in list form, which starts no shell.
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
    """A stage, which begins with a ``FROM``: its base image, its name and its steps."""

    base: str
    name: str = ""
    steps: list[Step] = field(default_factory=list)

    def all(self, word: str) -> list[Step]:
        """Return the steps with a given instruction."""
        return [step for step in self.steps if step.word == word]


def read_dockerfile(path: str | Path, arguments: Mapping[str, str] | None = None) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Args:
        path: path of the file.
        arguments: values of ``ARG``, as in ``--build-arg``; they replace those of the file.

    Raises:
        ValueError: If the file has an unsupported instruction, or an argument is unknown.
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
