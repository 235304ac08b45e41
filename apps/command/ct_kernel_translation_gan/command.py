"""The command ``ct-kernel-translation``: a thin layer over ``python -m monai.bundle run``, with the same configs.

::

    ct-kernel-translation scan.nii out --tile_size 64
    -> python -m monai.bundle run inference --config_file=[.../inference.json] --dataset_dir=scan.nii --output_dir=out
"""

from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from ct_kernel_translation_gan import help as helping
from ct_kernel_translation_gan.root import put_first, version
from ct_kernel_translation_gan.verbs import DEFAULT, EXPERIMENTS, OTHERS, OWN_OPTIONS, VERBS, fits
from ct_kernel_translation_gan.words import UsageError, config_files, flags, split

WRONG = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; if a run fails, its last line tells why.

    Args:
        arguments: command line arguments; null for those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # compute on the CPU what Apple's GPUs lack
    try:
        root = put_first()
        given, options = split(words, flags(root))
        asked = {name: options.pop(name, "False") == "True" for name in ("help", "debug", "version")}
        verb = given.pop(0) if given and given[0] in (*VERBS, *OTHERS) else ""
        if asked["version"]:
            print(version())
        elif asked["help"] or not (verb or given):
            print(helping.of_verb(verb) if verb else helping.overview())
            return 0 if asked["help"] else WRONG
        elif verb in OTHERS:
            _other(verb, given, options)
        else:
            if asked["debug"]:
                os.environ["MONAI_DEBUG"] = "1"
            own = options.get("experiment", "").endswith(".json")
            run(_monai_words(verb, given, options), quiet=not asked["debug"], own=own)
        return 0
    except UsageError as error:
        print(f"error: {error} See {helping.COMMAND} --help.", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on.", file=sys.stderr)
        return INTERRUPTED


def run(words: Sequence[str], quiet: bool = True, own: bool = False) -> None:
    """Run ``python -m monai.bundle`` in this process.

    Args:
        words: arguments of ``monai.bundle``.
        quiet: do not print MONAI's log of its arguments, nor the source lines of warnings.
        own: whether the user's own configs are among them, so that MONAI's warning that configs run as code is shown.

    Raises:
        UsageError: If a key is in none of the configs.
    """
    from bundle.runtime.arguments import COMMAND, check_arguments

    try:
        check_arguments([COMMAND, *words])
    except ValueError as error:
        raise UsageError(str(error)) from None
    before, form = sys.argv, warnings.formatwarning
    if quiet:
        logging.disable(logging.INFO)
        if not own:
            warnings.filterwarnings("ignore", "parsing config_file", UserWarning)
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        sys.argv = [COMMAND, *words]
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    finally:
        sys.argv, warnings.formatwarning = before, form
        logging.disable(logging.NOTSET)


def _monai_words(named: str, given: Sequence[str], options: dict[str, str]) -> list[str]:
    """Return the arguments of MONAI's command for a verb, or for the default verb if none is given."""
    name = named or DEFAULT
    verb = VERBS[name]
    misspelt = not named and given and not Path(given[0]).exists() and _near(given[0])
    if misspelt or not fits(verb.names, len(given)):
        raise UsageError(_count(name, verb.names, given))
    experiment = options.pop("experiment", "")
    if experiment and verb.configs[0] != "inference":
        raise UsageError(f"{name} knows no option --experiment.")
    if experiment in EXPERIMENTS and "experiment" in verb.without:
        raise UsageError(f"{name} knows no experiment {experiment!r}, which translates images.")
    root = put_first()
    files = config_files(root, verb.configs, experiment)
    places = dict(zip(verb.keys, given, strict=False))
    if twice := sorted({"bundle_root": str(root), **places}.keys() & options.keys()):
        raise UsageError(f"option --{twice[0]} is given already, as {places.get(twice[0], str(root))!r}.")
    _check_options(name, options)
    keys = {"bundle_root": str(root), **_literal(places), **options}
    return ["run", verb.run_id, f"--config_file={files!r}", *(f"--{key}={value}" for key, value in keys.items())]


def _check_options(verb: str, options: dict[str, str]) -> None:
    """Refuse options of MONAI's command, of which the verb sets its own, and values that would be read as code."""
    from fire.parser import DefaultParseValue

    from bundle.runtime.literal import check_literal
    from bundle.runtime.words import monai_arguments

    if own := sorted(monai_arguments() & options.keys()):
        raise UsageError(
            f"{verb} knows no option --{own[0]}, which is one of python -m monai.bundle; leave it out, or run that."
        )
    try:
        for name, value in options.items():
            check_literal(f"--{name}", DefaultParseValue(value))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _literal(places: dict[str, str]) -> dict[str, str]:
    """Return the paths of a run, by key, so that none is read as code."""
    from bundle.runtime.arguments import LISTS
    from bundle.runtime.literal import literal_word

    return {key: literal_word(word, key in LISTS) for key, word in places.items()}


def _count(name: str, names: Sequence[str], given: Sequence[str]) -> str:
    """Return a message about the arguments that a verb needs; a misspelt verb looks like an argument."""
    near = _near(given[0]) if given else ""
    advice = f" Did you mean {near}?" if near else ""
    return (
        f"{name} takes {' '.join(names) or 'nothing'}; it was given {' '.join(map(repr, given)) or 'nothing'}.{advice}"
    )


def _near(word: str) -> str:
    """Return the verb that a misspelt word is close to; an empty string if there is none."""
    return next(iter(get_close_matches(word, (*VERBS, *OTHERS), 1, 0.7)), "")


def _other(name: str, given: Sequence[str], options: dict[str, str]) -> None:
    """Run a verb that needs no config."""
    names = OTHERS[name][1]
    if unknown := [option for option in options if option not in OWN_OPTIONS.get(name, ())]:
        raise UsageError(f"{name} knows no option --{unknown[0]}.")
    if not fits(names, len(given)):
        raise UsageError(_count(name, names, given))
    todo: dict[str, Callable[..., str]] = {
        "experiments": helping.experiments,
        "kernels": helping.kernels,
        "phantom": write_phantom,
        "qa": judge,
        "view": draw,
    }
    try:
        print(todo[name](*given, **options))
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None


def write_phantom(image: str) -> str:
    """Write a noisy thorax phantom and return its path.

    Args:
        image: path of a NIfTI file, ``.nii`` or ``.nii.gz``.
    """
    from bundle.examples.phantom.__main__ import write

    return write(image, noise=60.0)


def judge(before: str, after: str, folder: str, phantom: str = "catphan504") -> str:
    """Measure a phantom before and after translation by pylinac, in a separate environment, and return its report.

    Args:
        before: folder with the DICOM series of a phantom.
        after: folder with its translation.
        folder: folder for the measurements and a picture.
        phantom: name of the phantom.

    Raises:
        FileNotFoundError: If pylinac is not installed.
        SystemExit: With the exit status of the comparison, if it is not 0.
    """
    from apps.qa.environment import command

    words = command(before, after, "--phantom", phantom, "--output", str(Path(folder).resolve()), root=put_first())
    done = subprocess.run(words, cwd=put_first(), stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        print(done.stdout, end="")
        raise SystemExit(done.returncode)
    return done.stdout.rstrip()


def draw(source: str, result: str, picture: str, series_uid: str = "") -> str:
    """Draw source, result and difference side by side and return the picture's path.

    Args:
        source: the image that was translated.
        result: its translation.
        picture: path of a PNG.
        series_uid: the series to take from a source that is a DICOM folder with several.
    """
    from apps.preview import preview

    return preview(source, result, picture, series_uid=series_uid)
