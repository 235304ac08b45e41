"""Kinds of values that a request may have, such as a number, a size, or a name from a list.

The stock app passes values of requests to MONAI's `ConfigParser`, which evaluates text that starts with ``$``, follows
``@`` and ``%``, and builds what a mapping with ``_target_`` names; all of these are refused. Nothing here needs a
server or MONAI Label.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: Prefixes of text that `ConfigParser` evaluates or follows.
EVALUATED = ("$", "@", "%")
#: Signs of its references, anywhere in a text.
REFERENCES = ("#", "::", "@")
#: A name, such as that of an image: letters and digits of any script, spaces and some signs; no slash, not only dots.
PLAIN = r"(?![. ]*$)[\w .,()+=~&'!%\[\]-]+"
#: Largest number of characters of a refused value that an error shows.
SHOWN = 80


class Value(Protocol):
    """A kind of value."""

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not of this kind."""


def show(value: Any) -> str:
    """Format a value for an error message, on one line."""
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."


def check_plain(name: str, value: Any) -> None:
    """Refuse values that are not allowed for any key.

    Raises:
        ValueError: If the value is a mapping, a list or null, or text that a config would evaluate or follow, or that
            is not printable.
    """
    if not isinstance(value, (str, int, float)):
        kind = {dict: "a mapping", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
        raise ValueError(f"{name} {show(value)} is {kind}; send a single number, a text, true or false.")
    if isinstance(value, str):
        if value.lstrip().startswith(EVALUATED) or any(sign in value for sign in REFERENCES):
            raise ValueError(
                f"{name} {show(value)} starts with $, @ or %, or holds @, # or ::; no text of a request is evaluated, "
                "leave these signs out."
            )
        if not value.isprintable():
            raise ValueError(f"{name} {show(value)} holds characters that cannot be printed; leave them out.")


@dataclass(frozen=True)
class Choice:
    """A string from a fixed list; ``any_case`` ignores its case."""

    names: tuple[str, ...]
    any_case: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not in the list."""
        check_plain(name, value)
        if not isinstance(value, str) or (value.lower() if self.any_case else value) not in self.names:
            names = ", ".join(entry or "''" for entry in self.names)
            raise ValueError(f"{name} {show(value)} is not known; take one of {names}.")


@dataclass(frozen=True)
class Flag:
    """True or false, also as text; ``only`` allows just one of them, and ``why`` gives the reason."""

    only: bool | None = None
    why: str = ""

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is neither, or is not allowed."""
        check_plain(name, value)
        states = {"true": True, "1": True, "false": False, "0": False}
        state = value if isinstance(value, bool) else states.get(str(value).lower())
        if state is None:
            raise ValueError(f"{name} {show(value)} is neither true nor false.")
        if self.only is not None and state is not self.only:
            raise ValueError(f"{name} {show(value)} is not served: {self.why}")


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``, also as decimal digits."""

    low: int
    high: int

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a number."""
        check_plain(name, value)
        digits = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value)
        number = int(value) if digits or (isinstance(value, int) and not isinstance(value, bool)) else None
        if number is None or not self.low <= number <= self.high:
            raise ValueError(f"{name} {show(value)} is not a whole number from {self.low} to {self.high}.")


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``."""

    low: float
    high: float

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a number."""
        check_plain(name, value)
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or not math.isfinite(value) or not self.low <= value <= self.high:
            raise ValueError(f"{name} {show(value)} is not a number from {self.low} to {self.high}.")


@dataclass(frozen=True)
class Size:
    """A number of bytes, or text such as ``2GiB``, up to ``high`` bytes; as read by `bundle.runtime.parse_bytes`."""

    high: int = 2**50

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a size."""
        check_plain(name, value)
        units = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
        pattern = r" *([0-9]{1,18}(?:\.[0-9]{0,18})?(?:e\+?[0-9]{1,2})?) *([a-z]*) *"
        found = re.fullmatch(pattern, "" if isinstance(value, bool) else str(value).lower())
        size = float(found[1]) * units.get(found[2], 0) if found else 0.0
        if size < 1:
            raise ValueError(
                f"{name} {show(value)} is not a positive number of bytes; write it like 2GiB, 500MB or 1000000000."
            )
        if size > self.high:
            raise ValueError(f"{name} {show(value)} is more than {self.high} bytes; take less, such as 2GiB.")


@dataclass(frozen=True)
class Text:
    """Text that matches a pattern, which ``like`` describes; may be empty only with ``empty``."""

    pattern: str
    like: str
    empty: bool = False
    longest: int = 200

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a text."""
        check_plain(name, value)
        if value == "" and self.empty:
            return
        if not isinstance(value, str) or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            raise ValueError(f"{name} {show(value)} is not a {self.like}.")


@dataclass(frozen=True)
class Credential:
    """A user's name or password: it is passed only to the realm that checks it, and no error shows it."""

    pattern: str = r"(?s).*"
    longest: int = 1000

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value does not match the pattern."""
        if not isinstance(value, str) or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            raise ValueError(f"{name} is none that a realm could know; write it as in the realm.")


@dataclass(frozen=True)
class Path:
    """A path of plain names, none of them ``..``; `apps.label.studies` checks whether it leads into the studies."""

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a path."""
        check_plain(name, value)
        parts = str(value).strip("/").split("/")
        if value == "" or (len(str(value)) < 1024 and all(re.fullmatch(PLAIN, part) for part in parts)):
            return
        raise ValueError(
            f"{name} {show(value)} is not the name of an image or folder; take letters, digits, spaces, . _ -, no `..`."
        )


@dataclass(frozen=True)
class Rows:
    """A list of flat mappings with the given keys, such as the segments that Slicer's module sends with a label map."""

    keys: Mapping[str, Value]
    most: int = 1000

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the value is not such a list."""
        if not isinstance(value, list) or len(value) > self.most or not all(isinstance(row, dict) for row in value):
            raise ValueError(f"{name} {show(value)} is not a list of at most {self.most} mappings.")
        for row in value:
            check_all(row.items(), self.keys, f"key of {name}")


@dataclass(frozen=True)
class Json:
    """A JSON object with only the given keys."""

    keys: Mapping[str, Value]

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError if the text is not such an object."""
        if not isinstance(value, (str, bytes)):
            raise ValueError(f"{name} is not text; send a mapping as JSON.")
        if value.strip():
            check_all(parse(name, value).items(), self.keys, f"key of {name}")


def parse(name: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: If the text is not a JSON object, or contains NaN, an infinity, or a duplicate key.
    """
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON ({str(error) or 'nested too deep'}); send a mapping.") from error
    if not isinstance(parsed, dict):
        raise ValueError(f'{name} {show(parsed)} is not a mapping; write it like {{"seed": 0}}.')
    return parsed


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def check_all(values: Iterable[tuple[str, Any]], known: Mapping[str, Value], kind: str) -> None:
    """Check values by key against an allow-list.

    Args:
        values: pairs of key and value.
        known: the allowed keys and the kind of value of each.
        kind: what a key is called in errors, such as "query parameter".

    Raises:
        ValueError: If a key is not in the list, or a value is not of its kind.
    """
    for key, value in values:
        if key not in known:
            keys = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{kind} {show(key)} is not known; known: {keys}.")
        known[key].check(key, value)
