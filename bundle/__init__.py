"""Multi-scale GANs that translate medical images of any size, 2D and 3D, in constant memory and without seams.

Folders import only from lines below their own; import-linter checks this (``make lint``)::

    evaluation                            compares the cascade with its competitors
    report                                reports of what was done to an image
    transforms   training   examples      transforms for the configs; the GAN of one scale; a phantom and open CTs
    cascade      images     scanner       the method of the paper (start here); image files; CT physics
    geometry     runtime                  tiles and scales; files, memory and processes

The configs combine these parts for ``python -m monai.bundle``; ``import bundle`` alone imports nothing heavy. See
``docs/developing.md`` for a map of the code.
"""

import json
import os
from pathlib import Path

_metadata = Path(__file__).resolve().parent.parent / "configs" / "metadata.json"
__version__: str = json.loads(_metadata.read_text(encoding="utf-8"))["version"]

# Use huge pages for tensors, where Linux has them: fewer page faults, which saves about a tenth of a volume's time on a
# CPU. PyTorch reads this once, when it creates its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
