"""What is worth telling of the image at hand, gathered where it is known: warnings, and facts for its provenance.

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


def begin_notes() -> None:
    """Begin with a new image: what was noted of the one before is forgotten."""
    global _begun
    _facts.clear()
    _warned.clear()
    _begun = time.monotonic()


def note(**facts: Any) -> None:
    """Note facts, plain data that JSON knows; a later value of a name counts."""
    _facts.update(facts)


def warn(text: str, subject: str = "") -> None:
    """Warn the user, and note the warning.

    Args:
        text: what is noted; it names no file, which may be named after a patient.
        subject: the file, which only the user is told.
    """
    _warned.append(text)
    warnings.warn(in_words(f"{subject} {text}".strip()), stacklevel=3)


def remark(text: str) -> None:
    """Tell the user what is worth knowing but not worrying, and note it beside the warnings."""
    _warned.append(text)
    print(f"note: {text}", file=sys.stderr)


def fault(text: str) -> None:
    """Tell what has failed beside a result that is whole, such as its report; the run goes on, and ends with status 1.

    Args:
        text: what, of which file, why.
    """
    _faults.append(text)
    print(f"failed: {text}", file=sys.stderr, flush=True)


def faults() -> list[str]:
    """Return all that was told by `fault` in this process, of whichever image."""
    return list(_faults)


def noted() -> dict[str, Any]:
    """Return the facts, ``warnings``, ``seconds`` since the image was begun, and the process's ``peak_memory_bytes``.

    The peak is of resident memory since the process began; null where the system does not tell it.
    """
    seconds = round(time.monotonic() - _begun, 3)
    return {**_facts, "warnings": list(_warned), "seconds": seconds, "peak_memory_bytes": peak_memory()}
