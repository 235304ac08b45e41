"""Derived DICOM series: a translated CT as DICOM images beside those it was made from, of the same patient and place.

`image`: what becomes of one source image's header; `series`: the folder of all of them, written slice by slice.
"""

from bundle.dicom.image import Derivation, is_ct
from bundle.dicom.series import DerivedSeries

__all__ = ["Derivation", "DerivedSeries", "is_ct"]
