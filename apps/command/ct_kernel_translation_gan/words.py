"""Parse the command line into arguments and options, and find the config files of a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ct_kernel_translation_gan.verbs import EXPERIMENTS

#: Flags of the command itself, not of the configs.
OWN_FLAGS = ("help", "debug", "version")
TRUTHS = ("True", "False")


class UsageError(ValueError):
    """A wrong argument, option or verb on the command line."""


def flags(root: Path) -> set[str]:
    """Return the boolean keys, which may be given without a value on the command line."""
    config = json.loads((root / "configs" / "inference.json").read_text(encoding="utf-8"))
    return {*config["checking"]["flags"], *OWN_FLAGS}


def split(words: Sequence[str], alone: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Return the positional arguments in order, and the options with their values as typed.

    Args:
        words: words of the command; all words after ``--`` are positional.
        alone: names of options that need no value: ``--densitometry`` is ``--densitometry True``.

    Raises:
        UsageError: If an option has no value, or is given twice.
    """
    given: list[str] = []
    options: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            given += left
            break
        if not word.startswith("--"):
            given.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not equals and name in alone:
            typed = left[0].capitalize() if left else ""
            value = left.pop(0).capitalize() if typed in TRUTHS else "True"
        elif not equals:
            if not left or left[0].startswith("--"):
                raise UsageError(f"option {word} has no value; write {word} VALUE.")
            value = left.pop(0)
        if name in options:
            raise UsageError(f"option --{name} is given twice; give it once.")
        options[name] = value.capitalize() if name in alone and value.capitalize() in TRUTHS else value
    return given, options


def config_files(root: Path, names: Sequence[str], experiment: str = "") -> list[str]:
    """Return the config files of a run: base config, overlays of the experiment, further overlays.

    Args:
        root: folder of the bundle.
        names: names of the base config and of overlays that come last.
        experiment: a name in `EXPERIMENTS`, or the path of an overlay; several are separated by commas.

    Raises:
        UsageError: If the experiment is neither, or its file no overlay.
    """
    first, *last = (str(root / "configs" / f"{name}.json") for name in names)
    return [first, *(_overlay(root, part) for part in experiment.split(",") if part), *last]


def _overlay(root: Path, name: str) -> str:
    if name in EXPERIMENTS:
        return str(root / "configs" / f"{name}.json")
    if name.endswith(".json") and Path(name).is_file():
        _check_overlay(name)
        return str(Path(name).absolute())
    raise UsageError(
        f"experiment {name!r} is not known; take one of {', '.join(EXPERIMENTS)}, or the path of an overlay, a .json "
        "file."
    )


def _check_overlay(name: str) -> None:
    """Refuse a file that is no overlay: no JSON, no block of keys, or a whole config."""
    try:
        config = json.loads(Path(name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"experiment {name!r} is no JSON: {error}; correct it.") from None
    if not isinstance(config, dict):
        raise UsageError(f"experiment {name!r} holds no keys, as {{...}}; write it like configs/low_dose.json.")
    if "run" in config:
        raise UsageError(
            f"experiment {name!r} is a whole config, which says what to run; take an overlay, "
            "such as configs/low_dose.json."
        )
