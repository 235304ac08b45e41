"""Translate images from Python, in this process, or in a child process if another package is called ``bundle``."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from ct_kernel_translation_gan.child import by_child
from ct_kernel_translation_gan.root import bundle_root, is_ours_or_free, put_first
from ct_kernel_translation_gan.verbs import VERBS
from ct_kernel_translation_gan.words import config_files

#: Further keys for the translation of an image in memory, whose files are temporary.
IN_MEMORY = {"provenance": False, "overwrite": "all", "output_postfix": "translated", "output_ext": ""}
#: Keys that the arguments set.
SET = {"dataset_dir": "image", "output_dir": "result"}
#: Keys that write files next to results.
BESIDE = ("densitometry", "report")
#: Keys of files, which an image in memory has none of, and the values by which they change nothing, defaults included.
OF_FILES: dict[str, tuple[Any, ...]] = {
    **{"provenance": (False, True), "overwrite": ("all", "own"), "skip_existing": (False,), "recursive": (False,)},
    **{"output_postfix": ("translated",), "output_ext": ("",), "series_uid": ("",), "series_description": ("",)},
}


def translate(
    image: Any, result: str | Path | None = None, *, affine: Any = None, experiment: str = "", **keys: Any
) -> Any:
    """Translate an image and return the result as the same kind of image, on the same grid.

    Args:
        image: a path (of an image, a DICOM folder, or a folder of images), a NumPy array or torch tensor with its
            affine, or an image of nibabel, ITK or MONAI.
        result: folder of the results, if ``image`` is a path; not allowed for images in memory.
        affine: affine of an array `(x, y, z)` from voxels to mm in RAS, `(4, 4)`.
        experiment: another translation, such as "low_dose"; see ``ct-kernel-translation experiments``.
        keys: keys of configs/inference.json, such as ``target_kernel="B30f"``.

    Returns:
        For a path, the paths of the results, with ``skip_existing`` also of those that existed; otherwise an image of
        the same kind as the input.

    Raises:
        TypeError: If the image is of an unknown kind.
        ValueError: If a key is unknown or has an invalid value, or the image is refused.
        FileNotFoundError: If there is no image at the path.
    """
    is_path = isinstance(image, (str, Path))
    if is_path and affine is not None:
        raise ValueError("affine is given, but a file has its own; leave it out.")
    if not is_path and result is not None and not isinstance(image, (list, tuple)):
        raise ValueError("result is given, but an image in memory is returned; leave it out, or give a path as image.")
    translator = Translator(experiment, **keys)
    return translator.files(image, result) if is_path else translator(image, affine)


class Translator:
    """Translate many images with a network that is loaded once.

    Args:
        experiment: another translation, such as "low_dose".
        keys: keys of configs/inference.json.

    Raises:
        ValueError: If the experiment or a key is unknown, or one that the arguments or the package set, or a value
            would be read as code.
    """

    def __init__(self, experiment: str = "", **keys: Any) -> None:
        if given := next((key for key in SET if key in keys), ""):
            raise ValueError(
                f"{given} {keys[given]!r} has no effect; give it as the argument {SET[given]} of translate."
            )
        if "bundle_root" in keys:
            raise ValueError(f"bundle_root {keys['bundle_root']!r} has no effect: the package has one; leave it out.")
        root = bundle_root()
        keys = {key: _plain(value) for key, value in keys.items()}
        self.configs, self.keys = config_files(root, VERBS["translate"].configs, experiment), keys
        self._evaluator: Any = None
        self._loaders: list[Any] = []
        self._folder: Path | None = None
        if is_ours_or_free():
            put_first()
            from bundle.runtime.arguments import check_keys
            from bundle.runtime.literal import check_literal

            check_keys(keys, self.configs)
            for key, value in keys.items():
                check_literal(key, value)

    def __getstate__(self) -> dict[str, Any]:
        """Return what makes a copy: the settings, which load a network of its own."""
        return {**self.__dict__, "_evaluator": None, "_loaders": [], "_folder": None}

    def __call__(self, image: Any, affine: Any = None) -> Any:
        """Return the result for an image in memory, see `translate`.

        Raises:
            ValueError: If a key would write files next to the result, which are not kept, or is one of files.
        """
        if asked := [key for key in BESIDE if self.keys.get(key)]:
            raise ValueError(f"{asked[0]} writes a file beside each result; give the path of an image, and a result.")
        for key, idle in OF_FILES.items():
            if key in self.keys and self.keys[key] not in idle:
                raise ValueError(f"{key} {self.keys[key]!r} has no effect on an image in memory; leave it out.")
        from ct_kernel_translation_gan.kinds import as_file

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="translator_"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        source, results = self._folder / "source", self._folder / "results"
        source.mkdir(exist_ok=True)
        path, back = as_file(image, source, affine)
        try:
            with redirect_stdout(StringIO()):  # hide the printed path, which is temporary
                self._translate_in_memory(path, results)
            (result,) = (found for found in results.iterdir() if not found.name.startswith("."))
            made = back(result)
            result.unlink()
            return made
        except Exception as error:  # the file is temporary, and not the caller's
            if len(error.args) == 1 and isinstance(error.args[0], str):
                error.args = (error.args[0].replace(f"image {str(path)!r}", "image"),)
            raise
        finally:
            path.unlink(missing_ok=True)

    def files(self, source: str | Path, result: str | Path | None) -> list[Path]:
        """Translate files and return the paths of their results, sorted.

        Raises:
            ValueError: If the folder of results is missing.
            RuntimeError: If some of several images failed; standard error tells which.
        """
        if result is None:
            raise ValueError("result is missing; give the folder in which the results are to lie.")
        if not is_ours_or_free():
            return by_child(source, result, self.configs[1:], self.keys)
        parser = self._parser(source, result)
        with _apart():
            planned = parser.get_parsed_content("results")
            parser.get_parsed_content("inference")
        return sorted([*planned.values(), *planned.skipped.values()])

    def _translate_in_memory(self, path: Path, results: Path) -> None:
        if not is_ours_or_free():
            by_child(path, results, self.configs[1:], {**self.keys, **IN_MEMORY})
            return
        from ignite.engine import Events

        from bundle.runtime.each import run_each
        from bundle.runtime.weights import check_loaded

        with _apart():
            if self._evaluator is None:
                parser = self._parser(path, results, IN_MEMORY)
                evaluator = parser.get_parsed_content("evaluator")
                check_loaded(evaluator, parser.get_parsed_content("job"))
                evaluator.logger.disabled = True  # it logs errors, which are raised
                self._evaluator, self._loaders = evaluator, parser.get_parsed_content("handlers")
            self._evaluator.data_loader.dataset.data = [{"image": str(path)}]
            run_each(self._evaluator)
            while self._loaders:  # the weights are loaded now
                self._evaluator.remove_event_handler(self._loaders.pop(), Events.STARTED)

    def _parser(self, source: str | Path, result: str | Path, more: dict[str, Any] | None = None) -> Any:
        """Return the config with its keys set and its settings checked."""
        from monai.bundle import ConfigParser

        from bundle.images import isolate
        from bundle.runtime.literal import literal_path
        from bundle.runtime.weights import check_weights

        parser = ConfigParser()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # the configs are the package's own
            parser.read_config(self.configs)
        keys = {"bundle_root": str(bundle_root()), "dataset_dir": literal_path(source)}
        keys["output_dir"] = literal_path(result)
        parser.update({**self.keys, **keys, **(more or {})})
        with _apart():
            parser.get_parsed_content("checking")
            mode, weights, network = map(parser.get_parsed_content, ("mode", "weights", "network_def"))
            if parser.get_parsed_content("handlers"):
                check_weights(weights, network, mode["strict"])
            isolate(parser.get_parsed_content("isolated"))
        return parser


def _plain(value: Any) -> Any:
    """Return a value without the number types of NumPy and PyTorch, also in lists and mappings; arrays become lists."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


@contextmanager
def _apart() -> Iterator[None]:
    """Keep the caller's random state, log only warnings, and raise the causes of errors that MONAI wraps."""
    import torch

    from bundle.runtime.errors import cause_of

    before = logging.root.manager.disable
    try:
        logging.disable(max(before, logging.INFO))
        with torch.random.fork_rng(devices=[]):
            yield
    except SystemExit:
        raise RuntimeError("some of the images failed; the lines above say which, and why.") from None
    except Exception as error:
        if (cause := cause_of(error)) is error:
            raise
        raise cause from None
    finally:
        logging.disable(before)
