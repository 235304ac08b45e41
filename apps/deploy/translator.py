"""Translate the selected series to a derived series by the bundle's inference."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow
from monai.deploy.core import Fragment, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series import DICOMSeries

from bundle.images import series_files
from bundle.images.derived import is_ct
from bundle.runtime.files import PART
from bundle.scanner.kernels import catalogue
from bundle.transforms.prepare import LONGEST

#: Memory limit for decoding a series.
MEMORY = "4GiB"


class TranslateSeriesOperator(Operator):
    """Translate the selected CT series into a folder of the output, ``<its Series Instance UID>_translated``.

    The bundle reads, translates and writes slab by slab. The folder appears only when it is complete; after an error
    nothing of it is left.

    Named input:
        study_selected_series_list: `StudySelectedSeries` objects, of one series in all.

    Args:
        fragment: the application.
        bundle_root: folder of the bundle, with ``configs/inference.json``.
        output_dir: folder of the output, created if missing.

    Raises:
        ValueError: If not exactly one series is selected, the bundle cannot derive a series from it, or an environment
            variable names an unknown kernel.
    """

    def __init__(self, fragment: Fragment, *args: Any, bundle_root: Path, output_dir: Path, **kwargs: Any) -> None:
        self.bundle_root, self.output_dir = bundle_root, output_dir
        self.input_name = "study_selected_series_list"
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the input."""
        spec.input(self.input_name)

    def compute(self, op_input: Any, *_: Any) -> None:
        """Translate the received series."""
        studies = op_input.receive(self.input_name)
        series = _only([selected.series for study in studies for selected in study.selected_series])
        with tempfile.TemporaryDirectory() as temporary:
            self.translate(_gathered(series, Path(temporary)))

    def translate(self, folder: Path) -> None:
        """Run the bundle's inference on a folder with the files of one series."""
        first = series_files(folder)[0]
        if not is_ct(first):
            raise ValueError(f"image {str(Path(first).resolve())!r} is not a CT image in HU; give a CT series in HU.")
        workflow = ConfigWorkflow(
            config_file=str(self.bundle_root / "configs" / "inference.json"),
            meta_file=str(self.bundle_root / "configs" / "metadata.json"),
            bundle_root=str(self.bundle_root),
            dataset_dir=str(folder),
            output_dir=str(self.output_dir),
            streaming=True,
            isolated=MEMORY,
            **kernels(),
        )
        try:
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        except BaseException:
            for left in self.output_dir.glob(f"{PART}{folder.name[:LONGEST]}_*"):  # scratch files and their lock
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)
            raise


def kernels() -> dict[str, str]:
    """Return the kernels from the environment variables SOURCE_KERNEL and TARGET_KERNEL as keys of the config.

    A config would evaluate text that starts with ``$``, ``@`` or ``%``, so only names of the catalogue and absolute
    paths are passed on.

    Raises:
        ValueError: If one is neither a name of the catalogue nor an existing file or folder.
    """
    found = {}
    for key in ("source_kernel", "target_kernel"):
        value = os.environ.get(key.upper(), "")
        known = catalogue().find(value) if value else None
        if known:
            found[key] = known.name
        elif value and Path(value).exists():
            found[key] = str(Path(value).resolve())
        elif value:
            raise ValueError(
                f"environment variable {key.upper()} {value!r} is neither a file or folder nor in the catalogue of "
                f"kernels ({catalogue().names()}); take one of these, or unset it."
            )
    return found


def _only(series: list[DICOMSeries]) -> DICOMSeries:
    """Return the series if there is exactly one."""
    if len(series) != 1:
        listed = "; ".join(f"{one.SeriesInstanceUID} ({one.SeriesDescription or 'no description'})" for one in series)
        raise ValueError(
            f"the input folder holds {listed or 'no series'} to translate. It has to be one: a CT series of Image Type "
            "ORIGINAL\\PRIMARY and no localizer, or the one whose Series Instance UID is in the environment variable "
            "SERIES_UID."
        )
    return series[0]


def _gathered(series: DICOMSeries, folder: Path) -> Path:
    """Make a folder, named by the Series Instance UID, with links to all files of a series, wherever they lie."""
    gathered = folder / str(series.SeriesInstanceUID)
    gathered.mkdir()
    for number, instance in enumerate(series.get_sop_instances()):
        file = Path(instance.get_native_sop_instance().filename).resolve()
        (gathered / f"{number:05d}_{file.name}").symlink_to(file)
    return gathered
