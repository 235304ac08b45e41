"""Multi-scale GANs that translate medical images of any size, 2D and 3D, in constant memory and without seams.

Floors on a cellar; arrows only downwards, and the rooms of one floor never import each other:

- top: `evaluation` (the cascade beside its competitors), which runs all of the others;
- upper floor: `inferer` (the walk, coarse to fine, tile by tile), `transforms` (MONAI dictionary transforms), `space`
  (a result that the disk has no room for), `streaming` (the same for images that are never whole in memory), `packing`
  (images on disk, for training), `patches` (training patches), `training` (one scale's GAN), `preview` (a result as a
  picture);
- mezzanine: `walks` (how scales are cut into tiles), `voxels` and on it `volumes` (image files, read in parts), `sinks`
  (files that images are written to);
- ground floor: `networks` (the cascade), `sketch` (image to edges), `storage` (images found and read), `memory` (what
  a network needs), `scratch` (images on disk, for the walk), `lungs` (where they are), `scanner` (simulated CT, and a
  real one's kernel read off its noise), `dicom` (derived CT series and X-rays), `phantom` (analytic thorax),
  `samples` (open CTs), `baselines` (the GANs that memory is compared with);
- cellar: `runtime` (files that are whole or not there, errors in one line), `geometry` (tiles and pyramids), `headers`
  (which files an image's header names), `readback` (whether what was written is whole), `probing` (how far a network
  looks), `precision` (what a device computes in), `overlap` (reading and writing while computing), `ranks` (the
  processes of one run), `series` (which files of a DICOM folder are one stack), `ome_zarr` and `nifti` (images written
  in parts), `depth` (the levels of a file, and grey); on it `xrays` (DICOM files that are an image each), and on that
  `photos` (2D files read).

The configs compose these parts for ``python -m monai.bundle``; nothing heavy is imported until a part is asked for.
"""

import json
import os
from pathlib import Path

_metadata = Path(__file__).resolve().parent.parent / "configs" / "metadata.json"
__version__: str = json.loads(_metadata.read_text(encoding="utf-8"))["version"]

# Tensors in huge pages, where Linux has them: fewer page faults, about a tenth of a volume's time on a CPU. PyTorch
# looks at this once, when it makes its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
