"""MONAI dictionary transforms of `configs/inference.json`: prepare images for the networks and save their results.

- steps: `load`, `match_kernel` (convert the kernel, which `kernel_choice` selects, as a `named_kernel`, perhaps by
  `references`, and `chosen` describes), `undo_clipping`, `lungs` (locate them for cropping), `grey_levels` (X-rays of
  any bit depth), `percentiles` (scale intensities without a unit), `paste` (put the result into its source, round and
  cast it), `save`, `provenance` (record how the result was made);
- running them: `prepare` and `finish`, in memory, or slab by slab for large images; `by_slabs` (one step of them);
- before a run: `check_input` (refuse what is not a CT in HU, by its `input_scores`), `inspection` (only check images),
  `plan` (predict time and memory, by a `rehearsal`), `plan_table` (print the plan), `samples` (choose the seeds of
  images from scratch);
- after it: `densitometry` (measure the `lung_density` in a `lung_mask`), `density_interval` (its uncertainty).
"""

from bundle.transforms.by_slabs import BySlabsd
from bundle.transforms.check_input import CheckInput
from bundle.transforms.densitometry import Densitometry
from bundle.transforms.finish import FinishImaged
from bundle.transforms.grey_levels import GreyToLevelsd, LevelsToGreyd
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
from bundle.transforms.samples import seeds_to_make
from bundle.transforms.save import SaveImageAsSourced
from bundle.transforms.undo_clipping import UndoClippingd

__all__ = [
    "BySlabsd",
    "CheckInput",
    "Densitometry",
    "FinishImaged",
    "GreyToLevelsd",
    "ImagePlan",
    "KernelChoice",
    "LevelsToGreyd",
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
    "seeds_to_make",
    "tell_plan",
]
