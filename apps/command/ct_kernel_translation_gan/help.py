"""Texts that ``--help`` prints, and the lists of kernels and experiments."""

from __future__ import annotations

from collections.abc import Collection
from textwrap import fill

from ct_kernel_translation_gan.root import put_first, version
from ct_kernel_translation_gan.verbs import EXPERIMENTS, OPTIONS, OTHERS, OWN_OPTIONS, VERBS

COMMAND = "ct-kernel-translation"
EXIT = """Exit status:
  0    every image has its result
  1    at least one has none; the last line says why
  2    the command itself is wrong: a verb, an option or a word is missing or unknown
  130  interrupted (Ctrl-C); the same command goes on"""


def overview() -> str:
    """Return the help of the command."""
    verbs = {name: (verb.summary, verb.names) for name, verb in VERBS.items()} | OTHERS
    listed = "\n".join(f"  {' '.join((name, *names)):35} {summary}" for name, (summary, names) in verbs.items())
    return f"""{COMMAND} {version()}: translate medical images of any size; CTs of a sharp kernel to a soft one

  {COMMAND} scan.nii.gz results
  {COMMAND} dicom_folder results --target_kernel B30f --densitometry
  {COMMAND} t1.nii.gz results --experiment brain_t1_t2

Verbs:
{listed}

{options()}

  --debug       show where an error happened
  --version     print the version
  VERB --help   more about a verb

{EXIT}

For research only. Not for clinical use, not for diagnosis, and not a medical device."""


def options(without: Collection[str] = ()) -> str:
    """Return the list of options, grouped by topic.

    Args:
        without: options to leave out.
    """
    lines = []
    for title, keys in OPTIONS.items():
        left = {key: meaning for key, meaning in keys.items() if key not in without}
        lines += [f"{title}:"] if left else []
        for key, meaning in left.items():
            lines.append(fill(meaning, 100, initial_indent=f"  --{key:16} ", subsequent_indent=" " * 21))
    return "\n".join(lines)


def of_verb(name: str) -> str:
    """Return the help of a verb."""
    if name in OTHERS:
        summary, names = OTHERS[name]
        taken = (f"[--{option} {option.upper()}]" for option in OWN_OPTIONS.get(name, ()))
        return f"{COMMAND} {' '.join((name, *names, *taken))}\n\n{summary}"
    verb = VERBS[name]
    usage = f"{COMMAND} {' '.join((name, *verb.names))} [--KEY VALUE ...]"
    keys = options(verb.without) if verb.configs[0] == "inference" else ""
    files = " with ".join(f"configs/{config}.json" for config in verb.configs)
    rest = f"Every key of {files} is an option."
    return "\n\n".join(part for part in (usage, verb.summary, verb.details, keys, rest, EXIT) if part)


def experiments() -> str:
    """Return the list of experiments."""
    return "\n".join(f"{name:14} {meaning}" for name, meaning in EXPERIMENTS.items())


def kernels() -> str:
    """Return the catalogue of kernels, one per line, with its half-gain frequency."""
    put_first()
    import numpy as np

    from bundle.scanner.kernels import catalogue

    lines = [f"{'manufacturer':14} {'name':10} {'half, cycles/mm':>15}  measured on"]
    for kernel in catalogue().kernels:
        frequencies = np.linspace(0, kernel.knots[-1], 1001)
        below = np.flatnonzero(np.interp(frequencies, kernel.knots, kernel.gains) < 0.5)
        half = f"{frequencies[below[0]]:.2f}" if len(below) else "-"
        lines.append(f"{kernel.manufacturer:14} {kernel.name:10} {half:>15}  {kernel.source}")
    return "\n".join(lines)
