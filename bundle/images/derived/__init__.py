"""Derived DICOM images: a translated CT or X-ray as DICOM beside what it was made from, of the same patient and place.

`image`: what becomes of a source image's header, whatever its kind; `ct`: a slice in HU; `series`: the folder of all of
them, written slice by slice; `xray`: a single X-ray.
"""

from bundle.images.derived.ct import is_ct
from bundle.images.derived.image import Derivation
from bundle.images.derived.series import DerivedSeries, check_source
from bundle.images.derived.xray import write_derived_xray

__all__ = ["Derivation", "DerivedSeries", "check_source", "is_ct", "write_derived_xray"]
