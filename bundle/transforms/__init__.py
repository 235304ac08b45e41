"""The MONAI dictionary transforms that `configs/inference.json` names: load, match, paste, save.

`prepare` and `finish` run them on an image in memory, or slab by slab on one that is too large for that; `plan`: what
that will take, by a `rehearsal`, told by `plan_table`; `percentiles`: intensities without a unit on one scale;
`check_input`: refuse what is not a CT in HU, by its `input_scores`; `inspection` only looks; `lungs`: where they are;
`densitometry`: their density (`lung_density`) in a `lung_mask`, and its interval (`density_interval`).
"""

from bundle.transforms.check_input import CheckInput
from bundle.transforms.densitometry import Densitometry
from bundle.transforms.finish import FinishImaged
from bundle.transforms.inspection import inspect_images
from bundle.transforms.kernel_choice import KernelChoice
from bundle.transforms.load import LoadImageOrSeriesd
from bundle.transforms.lungs import lungs
from bundle.transforms.match_kernel import MatchKerneld
from bundle.transforms.paste import MarkInsided, PasteIntoSourced, RoundAndCastd
from bundle.transforms.plan import ImagePlan, Plan
from bundle.transforms.plan_table import tell_plan
from bundle.transforms.prepare import PrepareImaged, collate
from bundle.transforms.provenance import Provenance
from bundle.transforms.save import SaveImageAsSourced
from bundle.transforms.undo_clipping import UndoClippingd

__all__ = [
    "CheckInput",
    "Densitometry",
    "FinishImaged",
    "ImagePlan",
    "KernelChoice",
    "LoadImageOrSeriesd",
    "MarkInsided",
    "MatchKerneld",
    "PasteIntoSourced",
    "Plan",
    "PrepareImaged",
    "Provenance",
    "RoundAndCastd",
    "SaveImageAsSourced",
    "UndoClippingd",
    "collate",
    "inspect_images",
    "lungs",
    "tell_plan",
]
