"""What a run has written: results, without what is told of them beside."""

from __future__ import annotations

from pathlib import Path


def results_in(folder: str | Path) -> list[Path]:
    """The entries of a folder of results, sorted, but for their provenance."""
    return sorted(path for path in Path(folder).iterdir() if not path.name.endswith(".provenance.json"))
