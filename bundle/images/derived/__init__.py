"""Write derived DICOM images: a translated CT or X-ray as DICOM, of the same patient and position as its source.

`image`: derive a header from that of a source image of any kind; `ct`: derive a slice in HU; `series`: write the folder
of a derived series slice by slice; `xray`: write a single X-ray.
"""

from bundle.images.derived.ct import is_ct
from bundle.images.derived.image import Derivation, check_description
from bundle.images.derived.series import DerivedSeries, check_source
from bundle.images.derived.xray import write_derived_xray

__all__ = ["Derivation", "DerivedSeries", "check_description", "check_source", "is_ct", "write_derived_xray"]
