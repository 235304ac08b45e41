"""The process that opens one image for another process and decodes it there, within limits; see `isolated`."""

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

#: Bytes of the largest file that is written: a compressed slice of DICOM, which ITK reads from a file alone.
SLICE = 2**26


def _told(image: Opened) -> dict[str, Any]:
    """What is told of an open image, as JSON knows it."""
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
        "header": header,
    }


def _limit(memory: int) -> None:
    """Take no more memory, write no larger file and leave no core behind; nothing where the system has no limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, SLICE), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # lower already, or a system that knows the limit by name alone
            resource.setrlimit(kind, (most, most))


@contextmanager
def _answering(out: BinaryIO) -> Iterator[None]:
    """Tell an error to the other process."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        answer = {"error": " ".join(str(error).split()), "missing": isinstance(error, FileNotFoundError)}
        out.write(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Open the image of the command line, and answer questions until there are none."""
    path, memory = sys.argv[1:]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is not an answer
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
