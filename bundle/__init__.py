"""Multi-scale GANs that translate medical images of any size, 2D and 3D, in constant memory and without seams.

A folder for each thing that a reader looks for; arrows only downwards, checked by import-linter (``make lint``)::

    evaluation                            the cascade beside its competitors
    report                                what was done to an image, to look at
    transforms   training   examples      what configs name; one scale's GAN; phantom and open CTs
    cascade      images     scanner       the paper, read first; files on disk; CT physics
    geometry     runtime                  tiles and scales; files, memory and processes

The configs compose these parts for ``python -m monai.bundle``; nothing heavy is imported until a part is asked for.
``docs/developing.md`` has the map.
"""

import json
import os
from pathlib import Path

_metadata = Path(__file__).resolve().parent.parent / "configs" / "metadata.json"
__version__: str = json.loads(_metadata.read_text(encoding="utf-8"))["version"]

# Tensors in huge pages, where Linux has them: fewer page faults, about a tenth of a volume's time on a CPU. PyTorch
# looks at this once, when it makes its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
