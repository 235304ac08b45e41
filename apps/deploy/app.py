"""MONAI Deploy application: translate a folder with a DICOM series to a folder with the derived series."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from header_loader import HeaderLoaderOperator
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application
from monai.deploy.operators import DICOMSeriesSelectorOperator
from translator import TranslateSeriesOperator

#: Series to translate: the scanner's original CT images, without localizers and derived series.
ORIGINAL_CT = {"Modality": "^CT$", "ImageType": ["ORIGINAL", "PRIMARY", "!LOCALIZER"]}


class TranslationApp(Application):
    """Translate the CT series of a folder.

    ::

        folder --headers--> selector --one series--> translator --> folder with the derived series

    Args:
        input_dir: folder with DICOM files, at any depth.
        output_dir: folder in which the folder of the derived series is written.
        bundle_root: folder of the bundle.
    """

    def __init__(self, input_dir: Path, output_dir: Path, bundle_root: Path) -> None:
        self.input_dir, self.output_dir, self.bundle_root = input_dir, output_dir, bundle_root
        super().__init__()

    def compose(self) -> None:
        """Create and connect the operators."""
        once = CountCondition(self, 1)  # the loader has no input to wait for, and would load repeatedly
        loader = HeaderLoaderOperator(self, once, input_folder=self.input_dir, must_load=False, name="header_loader")
        selector = DICOMSeriesSelectorOperator(self, rules=rules(), all_matched=True, name="series_selector")
        translator = TranslateSeriesOperator(
            self, bundle_root=self.bundle_root, output_dir=self.output_dir, name="translator"
        )
        self.add_flow(loader, selector, {(loader.output_name, selector.input_name_study_list)})
        self.add_flow(selector, translator, {(selector.output_name_selected_series, translator.input_name)})


def rules() -> str:
    """Return the selector's rules: the series named by the environment variable SERIES_UID, or else original CT."""
    uid = os.environ.get("SERIES_UID")
    conditions = {"SeriesInstanceUID": f"^{re.escape(uid)}$"} if uid else ORIGINAL_CT
    return json.dumps({"selections": [{"name": "CT series", "conditions": conditions}]})
