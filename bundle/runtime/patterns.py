"""Expand path patterns such as ``scans/*.nii.gz``; a path that exists is always taken literally.

==========  ===============================================
``*``       any characters of a name
``?``       any single character
``[ab]``    one of these characters
``**``      any number of nested folders; links are not followed
==========  ===============================================

Names that start with a dot are found only by a pattern with such a name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bundle.runtime.origins import absolute

#: Characters that make a path a pattern.
SIGNS = frozenset("*?[")


def is_pattern(path: str | Path) -> bool:
    """Return whether a path does not exist and can be a pattern."""
    return not os.path.lexists(path) and bool(SIGNS & set(str(path)))


def matching(pattern: str | Path, key: str = "dataset_dir") -> list[Path]:
    """Return the sorted paths that match a pattern.

    Leading parts that exist are taken literally, such as the folder ``[a]`` of ``[a]/*.nii``, if there is one.

    Args:
        pattern: the pattern.
        key: the key that gives it, for messages.

    Raises:
        FileNotFoundError: If nothing matches.
        ValueError: If the pattern is invalid.
    """
    base, rest = _split(pattern)
    try:
        found = [path for path in base.glob("/".join(rest)) if not _is_hidden(path.relative_to(base), rest)]
    except (ValueError, NotImplementedError) as error:
        raise ValueError(f"{key} {str(pattern)!r} is not a pattern: {error}; write it like 'a/*.nii'.") from None
    if not found:
        raise FileNotFoundError(
            f"{key} {str(pattern)!r} does not exist, and as a pattern it finds nothing in {str(base)!r}; check "
            "it, and put it in quotes."
        )
    return sorted(found)


def root_of(path: str | Path | Sequence[str | Path]) -> str:
    """Return the folder whose structure the results keep: a single path itself, or the common folder of all matches.

    Args:
        path: a path, a pattern, or a list of these; they need not exist.
    """
    paths = list(path) if isinstance(path, (list, tuple)) else [Path(str(path))]
    if len(paths) == 1 and not is_pattern(paths[0]):
        return str(paths[0])
    folders = [absolute(_split(each)[0] if is_pattern(each) else Path(each).parent) for each in paths]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # on several disks of Windows
        return str(folders[0])


def _split(pattern: str | Path) -> tuple[Path, tuple[str, ...]]:
    """Return the longest leading folder of a pattern that exists, and the remaining parts."""
    parts = Path(pattern).parts
    count = next(n for n in range(len(parts) - 1, -1, -1) if os.path.lexists(Path(*parts[:n])))
    return Path(*parts[:count]), parts[count:]


def _is_hidden(inner: Path, pattern: Sequence[str]) -> bool:
    """Return whether a matching path has a hidden part although the pattern has none."""
    return any(part.startswith(".") for part in inner.parts) and not any(part.startswith(".") for part in pattern)
