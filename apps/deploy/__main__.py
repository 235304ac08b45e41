"""Run the application as MONAI Deploy does: ``python apps/deploy -i DICOM_FOLDER -o RESULTS``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cuda_runtime import load_cuda_runtime


def main() -> int:
    """Translate the CT series of a folder and return the exit code.

    If something fails, the last line tells what and the code is 1; above it Holoscan logs where.
    """
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "WARN")
    try:
        load_cuda_runtime()
        from monai.deploy.core import Application  # needs that library

        paths = Application.init_app_context(sys.argv)
        bundle_root = find_bundle(Path(paths.model_path))
        sys.path.insert(0, str(bundle_root))
        from app import TranslationApp  # needs the bundle

        TranslationApp(Path(paths.input_path), Path(paths.output_path), bundle_root).run()
    except SystemExit as end:  # the command line parser has printed why
        return 1 if end.code else 0
    except Exception as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 1
    return 0


def reason(error: BaseException) -> str:
    """Return the cause of an error in one line, without MONAI's wrappers that name the expression or transform."""
    while isinstance(error, RuntimeError) and error.__cause__:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def find_bundle(model_path: Path) -> Path:
    """Return the bundle's folder: the given folder, a folder in it (as in a MAP), or the parent of its ``models``.

    Raises:
        FileNotFoundError: If there is no bundle.
    """
    path = model_path.resolve()
    for folder in (path, *sorted(path.glob("*/")), path.parent):
        if (folder / "configs" / "inference.json").is_file():
            return folder
    raise FileNotFoundError(
        f"model {str(model_path)!r} is not a bundle, it has no configs/inference.json; give the bundle's folder by "
        "-m or by HOLOSCAN_MODEL_PATH."
    )


if __name__ == "__main__":
    sys.exit(main())
