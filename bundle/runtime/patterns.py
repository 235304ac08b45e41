"""Patterns: the paths that a text stands for, such as ``scans/*.nii.gz``; a path that exists is always taken as it is.

==========  ===============================================
``*``       any characters of a name
``?``       one of them
``[ab]``    one of these
``**``      any folders, one in another; links are not followed
==========  ===============================================

What begins with a dot is found only by a pattern that does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bundle.runtime.origins import absolute

#: What makes a text a pattern.
SIGNS = frozenset("*?[")


def is_pattern(path: str | Path) -> bool:
    """Whether a text that is not a path of a file or folder can be a pattern."""
    return not os.path.lexists(path) and bool(SIGNS & set(str(path)))


def matching(pattern: str | Path) -> list[Path]:
    """Return the paths that a pattern finds, sorted.

    Names that exist are taken as they are: of ``[a]/*.nii`` the folder ``[a]``, if there is one.

    Raises:
        FileNotFoundError: If it finds nothing.
        ValueError: If it is not written as a pattern has to be.
    """
    base, rest = _split(pattern)
    try:
        found = [path for path in base.glob("/".join(rest)) if not _is_hidden(path.relative_to(base), rest)]
    except (ValueError, NotImplementedError) as error:
        raise ValueError(f"dataset_dir {str(pattern)!r} is not a pattern: {error}; write it like 'a/*.nii'.") from None
    if not found:
        raise FileNotFoundError(
            f"dataset_dir {str(pattern)!r} does not exist, and as a pattern it finds nothing in {str(base)!r}; check "
            "it, and put it in quotes."
        )
    return sorted(found)


def root_of(path: str | Path | Sequence[str | Path]) -> str:
    """Return the folder whose structure results keep: a path itself, or what all lies in that is found.

    Args:
        path: a path, a pattern, or a list of these; none has to exist.
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
    """Return the longest beginning of a pattern that exists, a folder, and the parts behind it."""
    parts = Path(pattern).parts
    count = next(n for n in range(len(parts) - 1, -1, -1) if os.path.lexists(Path(*parts[:n])))
    return Path(*parts[:count]), parts[count:]


def _is_hidden(inner: Path, pattern: Sequence[str]) -> bool:
    """Whether a path that was found has a hidden part, and the pattern has none."""
    return any(part.startswith(".") for part in inner.parts) and not any(part.startswith(".") for part in pattern)
