"""Decode one image on behalf of another process, with limits on memory and file size; see `isolated`."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import numpy as np
from bundle.images.formats import open_image
from bundle.images.image import Opened
from bundle.images.isolated import HEADERS
from bundle.images.nifti import DICOM

#: Size limit of written files in bytes: compressed DICOM slices, which ITK reads only from a file.
SLICE = 2**26


def _told(image: Opened) -> dict[str, Any]:
    """Describe an open image for JSON."""
    header = None
    if type(image.header).__name__ in HEADERS:
        kept = [each for each in image.header.extensions if each.get_code() != DICOM]
        header = {
            "kind": type(image.header).__name__,
            "bytes": base64.b64encode(image.header.binaryblock).decode(),
            "endianness": image.header.endianness,
            "extensions": [(each.get_code(), base64.b64encode(each.get_content()).decode()) for each in kept],
        }
    return {
        "shape": [int(size) for size in image.shape],
        "affine": np.asarray(image.affine, float).tolist(),
        "dtype": image.dtype.str,
        "units": image.units,
        "meta": dict(image.meta),
        "files": list(image.files),
        "kept": image.kept,
        "header": header,
    }


def _limit(memory: int) -> None:
    """Limit memory and the size of written files, and disable core dumps; no effect if the system has no limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, SLICE), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # the limit is lower already, or not supported
            resource.setrlimit(kind, (most, most))


@contextmanager
def _answering(out: BinaryIO) -> Iterator[None]:
    """Send an error to the other process."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        answer = {"error": " ".join(str(error).split()), "missing": isinstance(error, FileNotFoundError)}
        out.write(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Open the image named on the command line, and answer requests until the input ends."""
    path, memory = sys.argv[1:]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep what libraries print out of the answers
    _limit(int(memory))
    image: Opened | None = None
    for line in sys.stdin.buffer:
        question = json.loads(line)
        with _answering(out):
            if image is None:
                image = open_image(path, question["series_uid"])
                out.write(json.dumps(_told(image)).encode() + b"\n")
            else:
                voxels = image[tuple(slice(start, stop) for start, stop in question["read"])]
                about = {"shape": voxels.shape, "dtype": voxels.dtype.str, "bytes": voxels.nbytes}
                out.write(json.dumps(about).encode() + b"\n")
                out.write(voxels.tobytes("F"))
        out.flush()


if __name__ == "__main__":
    main()
