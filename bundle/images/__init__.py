"""Images in files: found, opened, read in parts, written.

`finding`: what a path stands for, a `folder` or one of the `archives` among it; `image` is what every format gives;
`formats` the table of them, a module each: `nifti`, `metaimage`, `nrrd`, `mgz`, `ome_zarr`, `raster`, `xray`,
`dicom_series`; `reader` reads an image whole for MONAI, `volume` as axial slices; `results`: their names;
`provenance`: what is told of them; `bit_depth`: stored pixel values of X-rays; `derived`: derived DICOM series and
X-rays. `claims`: headers that claim too much; `isolated`, `decoder`: files of strangers.
"""

from bundle.images.bit_depth import WHITE, GreyToLevelsd, LevelsToGreyd, depth_of, level_type, to_grey, to_levels
from bundle.images.dicom_stack import series_files
from bundle.images.finding import Sources, find_images, find_sources
from bundle.images.formats import FORMATS, NIFTI, PHOTO, create_image, is_series, open_image, stem, suffix
from bundle.images.image import ImageError, LazyImage, Opened, Write, held
from bundle.images.isolated import isolate
from bundle.images.nifti import HEADER
from bundle.images.reader import ScanReader, load_image
from bundle.images.results import check_extension, plan_results, result_path
from bundle.images.volume import SLAB, Slabs, Volume, create, slabs, write

__all__ = [
    "FORMATS",
    "HEADER",
    "NIFTI",
    "PHOTO",
    "SLAB",
    "WHITE",
    "GreyToLevelsd",
    "ImageError",
    "LazyImage",
    "LevelsToGreyd",
    "Opened",
    "ScanReader",
    "Slabs",
    "Sources",
    "Volume",
    "Write",
    "check_extension",
    "create",
    "create_image",
    "depth_of",
    "find_images",
    "find_sources",
    "held",
    "is_series",
    "isolate",
    "level_type",
    "load_image",
    "open_image",
    "plan_results",
    "result_path",
    "series_files",
    "slabs",
    "stem",
    "suffix",
    "to_grey",
    "to_levels",
    "write",
]
