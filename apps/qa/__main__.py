"""``python -m apps.qa BEFORE AFTER``: compare a phantom's series with its translation; status 1 if water or air moved.

Prints a table, and writes `qa.json` and `qa.png` into ``--output``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from apps.qa.environment import HOW_TO_INSTALL

#: The files that are written, each with what only it contains: an entry, and the comment of the picture.
WRITTEN = {"qa.json": b'"limit_hu"', "qa.png": b"made by apps.qa"}
PHANTOMS = ("catphan503", "catphan504", "catphan600", "catphan604", "acr")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser("apps.qa", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", help="folder with the DICOM series of a phantom")
    parser.add_argument("after", help="folder with its translation")
    parser.add_argument(
        "--target", help="folder with another series to show beside them, such as a true soft reconstruction"
    )
    parser.add_argument(
        "--phantom", choices=PHANTOMS, default="catphan504", help="what was scanned (default: catphan504)"
    )
    parser.add_argument("--output", default="output/qa", help="folder for qa.json and qa.png (default: output/qa)")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Measure the series, print the table and write the files."""
    given = arguments(words)
    folders = {"before": given.before, "after": given.after, **({"target": given.target} if given.target else {})}
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            sys.exit(f"error: {name} {folder!r} is not a folder; give one with the DICOM files of a series.")
    output = Path(given.output)
    table, picture = (output / name for name in WRITTEN)
    for path in (table, picture):
        if path.exists() and not (path.is_file() and WRITTEN[path.name] in path.read_bytes()):
            sys.exit(
                f"error: {str(path)!r} is there, and was not written by apps.qa; move it away, or change --output."
            )
    if not importlib.util.find_spec("pylinac"):
        sys.exit(f"error: {HOW_TO_INSTALL}")
    import pylinac

    from apps.qa import compare, figure
    from apps.qa.measure import measure

    try:
        series = {name: measure(folder, given.phantom) for name, folder in folders.items()}
    except ValueError as error:
        sys.exit(f"error: {error}")
    parts = compare.judged(series["before"], series["after"])
    result = compare.as_json(given.phantom, pylinac.__version__, series, parts)
    output.mkdir(parents=True, exist_ok=True)
    table.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    figure.draw(picture, given.phantom, series)
    print(compare.table(series))
    print(f"figures  {table}\npicture  {picture}", flush=True)
    failed = compare.failures(parts)
    if failed:
        sys.exit(
            f"error: {'; '.join(failed)}: more than {compare.LIMIT:.0f} HU; docs/qa.md says what that may come from,"
            " and a true soft reconstruction, as --target, shows which of both is right."
        )


if __name__ == "__main__":
    main()
