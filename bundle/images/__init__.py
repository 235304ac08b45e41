"""Images in files: found, opened, read in parts, written.

`formats` says which there are, and each has a module: `nifti`, `ome_zarr`, `dicom_series`, `xray`, `raster`.
`bit_depth`: stored pixel values of X-rays; `derived`: derived DICOM series and X-rays.
"""

from bundle.images.bit_depth import WHITE, GreyToLevelsd, LevelsToGreyd, depth_of, level_type, to_grey, to_levels
from bundle.images.dicom_series import series_files
from bundle.images.formats import NIFTI, PHOTO, find_images, is_series, stem, suffix
from bundle.images.nifti import HEADER, NiftiWriter
from bundle.images.ome_zarr import ZARR, ZarrScales, open_zarr
from bundle.images.readers import ScanReader
from bundle.images.volumes import SLAB, Picture, Slabs, Volume, create, open_slabs, slabs, write
from bundle.images.voxels import open_voxels
from bundle.images.writers import TIFF, only_channel, result_folder, write_file, write_tiff, write_zarr

__all__ = [
    "HEADER",
    "NIFTI",
    "PHOTO",
    "SLAB",
    "TIFF",
    "WHITE",
    "ZARR",
    "GreyToLevelsd",
    "LevelsToGreyd",
    "NiftiWriter",
    "Picture",
    "ScanReader",
    "Slabs",
    "Volume",
    "ZarrScales",
    "create",
    "depth_of",
    "find_images",
    "is_series",
    "level_type",
    "only_channel",
    "open_slabs",
    "open_voxels",
    "open_zarr",
    "result_folder",
    "series_files",
    "slabs",
    "stem",
    "suffix",
    "to_grey",
    "to_levels",
    "write",
    "write_file",
    "write_tiff",
    "write_zarr",
]
