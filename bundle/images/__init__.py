"""Find, open, read in parts and write images in files.

- finding: `finding` (the images at a path), `listing` (those of a key), `folder` (those directly in one folder),
  `archives` (unpack zips);
- opening: `image` (the interface of all formats), `formats` (the table of formats; one module each: `nifti`,
  `metaimage`, `nrrd`, `mgz`, `ome_zarr`, `raster`, `xray`, `dicom_series`), `volume` (read axial slices), `bit_depth`
  (stored pixel values of X-rays), `reader` (read a whole image for MONAI; imported by name, as only it needs MONAI);
- writing: `results` (name the results), `provenance` (record how they were made), `own_files` (mark what else the
  bundle makes, replace nothing else), `derived` (derived DICOM series and X-rays);
- untrusted files: `claims` (refuse headers that claim too much), `isolated`, `decoder` (decode in a separate process).
"""

from bundle.images.bit_depth import WHITE, depth_of, level_type, to_grey, to_levels
from bundle.images.dicom_stack import series_files
from bundle.images.finding import Sources, find_sources
from bundle.images.formats import FORMATS, NIFTI, PHOTO, create_image, files_of, is_series, open_image, stem, suffix
from bundle.images.image import ImageError, LazyImage, Opened, Write, held
from bundle.images.isolated import isolate
from bundle.images.listing import find_images
from bundle.images.nifti import HEADER
from bundle.images.results import check_extension, plan_results, result_path
from bundle.images.volume import SLAB, Slabs, Volume, create, slabs, write

__all__ = [
    "FORMATS",
    "HEADER",
    "NIFTI",
    "PHOTO",
    "SLAB",
    "WHITE",
    "ImageError",
    "LazyImage",
    "Opened",
    "Slabs",
    "Sources",
    "Volume",
    "Write",
    "check_extension",
    "create",
    "create_image",
    "depth_of",
    "files_of",
    "find_images",
    "find_sources",
    "held",
    "is_series",
    "isolate",
    "level_type",
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
