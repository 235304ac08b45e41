"""Collect warnings and facts about the current image, for its provenance, from wherever they arise.

A process works on one image at a time.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

from bundle.runtime.host_memory import peak_memory
from bundle.runtime.origins import in_words

_facts: dict[str, Any] = {}
_warned: list[str] = []
_faults: list[str] = []
_begun = time.monotonic()
_subject = ""


def begin_notes(subject: str = "") -> None:
    """Start a new image: clear the facts and warnings of the previous one.

    Args:
        subject: the beginning of its warnings, such as "image 'scan.nii':"; shown to the user but not noted.
    """
    global _begun, _subject
    _facts.clear()
    _warned.clear()
    _begun, _subject = time.monotonic(), subject


def note(**facts: Any) -> None:
    """Note facts, serializable to JSON; a later value replaces an earlier one of the same name."""
    _facts.update(facts)


def warn(text: str, subject: str = "") -> None:
    """Warn the user, and note the warning; it is shown for each image, also where Python would show it only once.

    Args:
        text: the warning, which is noted; it must not name a file, whose name may be that of a patient.
        subject: the file, shown to the user but not noted; empty for the current image.
    """
    _warned.append(text)
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno, caller.f_globals.get("__name__")
    warnings.warn_explicit(in_words(f"{subject or _subject} {text}".strip()), UserWarning, *place)


def remark(text: str) -> None:
    """Tell the user something that is no cause for concern, and note it together with the warnings."""
    _warned.append(text)
    print(f"note: {text}", file=sys.stderr)


def fault(text: str) -> None:
    """Report that something failed although the result is complete, such as its report; the run ends with status 1.

    The run continues with the other images.

    Args:
        text: what failed, for which file, and why.
    """
    _faults.append(text)
    print(f"failed: {text}", file=sys.stderr, flush=True)


def faults() -> list[str]:
    """Return all messages of `fault` in this process, for all images."""
    return list(_faults)


def noted() -> dict[str, Any]:
    """Return the facts, ``warnings``, ``seconds`` since the image was started, and the process's ``peak_memory_bytes``.

    The peak is that of resident memory since the process started; None where the system does not provide it.
    """
    seconds = round(time.monotonic() - _begun, 3)
    return {**_facts, "warnings": list(_warned), "seconds": seconds, "peak_memory_bytes": peak_memory()}
