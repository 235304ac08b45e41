"""Check images without translating them: report which would be refused, and the warnings for the others."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from bundle.images import open_image
from bundle.runtime.errors import last_line
from bundle.runtime.origins import origin_of
from bundle.transforms.check_input import CheckInput


def inspect_images(images: Sequence[str], check: CheckInput, series_uid: str = "") -> None:
    """Print a line for each image: ``ok``, ``warned of``, or ``refused`` with the reason.

    Args:
        images: paths of images.
        check: the check for each image; with action ``off``, images are only opened.
        series_uid: the series to read from DICOM folders with several.

    Raises:
        SystemExit: With status 1, if an image would be refused.
    """
    refused = 0
    for path in images:
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # printed below
                found = check(open_image(path, series_uid))
        except (OSError, ValueError) as error:
            refused += 1
            print(f"refused: {last_line(error).removeprefix('error: ')}")
        else:
            name = origin_of(path)
            print(f"warned of: {name}: {'; '.join(found)}" if found else f"ok: {name}")
    if refused:
        print(f"error: {refused} of {len(images)} images would be refused, see the lines above.", file=sys.stderr)
        raise SystemExit(1)
