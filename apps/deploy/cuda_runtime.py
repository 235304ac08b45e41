"""Load CUDA's runtime library, which Holoscan needs even without a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

LIBRARY = "libcudart.so.13"


def load_cuda_runtime() -> None:
    """Load the system's library, or else that of the PyPI package nvidia-cuda-runtime, which the linker does not find.

    It must be loaded before MONAI, which imports Holoscan if the SDK is installed.

    Raises:
        OSError: If there is neither.
    """
    try:
        ctypes.CDLL(LIBRARY, mode=ctypes.RTLD_GLOBAL)
    except OSError as missing:
        spec = importlib.util.find_spec("nvidia")
        folders = (spec.submodule_search_locations if spec else None) or ()
        found = [path for folder in folders for path in Path(folder).glob(f"*/lib/{LIBRARY}")]
        if not found:
            raise OSError(
                f"{LIBRARY} is neither in the system nor in the package nvidia-cuda-runtime; Holoscan needs it on a "
                "CPU, too: pip install -r apps/deploy/requirements.txt."
            ) from missing
        ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)
