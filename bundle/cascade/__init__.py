"""The paper's method: a U-Net for the whole image at low resolution, then residual networks of growing resolution.

Read `cascade`, the specification, first, then `inferer`, which computes the same numbers tile by tile.

- networks: `sketch` (edges of an image), `generators` (networks of the finer scales), `slice_wise` (a 2D network for
  volumes), `noise` (input for generation from scratch), `conditioned` (selects the network for the requested
  conditioning);
- tiling: `receptive_field` (measures a network's reach), `tile_plan` (cuts each scale into tiles), `memory` (counts the
  bytes of a tile), `outputs` (output shapes for that count), `scratch` (scales on disk), `slabs` (images that are
  recomputed rather than kept), `rows` (processes tiles row by row), `pace` (predicts run time and disk space).
"""

from bundle.cascade.cascade import CONDITIONINGS, Cascade
from bundle.cascade.conditioned import ConditionedInferer
from bundle.cascade.generators import ResidualBlock, ResNetGenerator, residual_generators
from bundle.cascade.inferer import CascadeInferer
from bundle.cascade.memory import LiveBytes, footprint, on_meta
from bundle.cascade.noise import WhiteNoised, sample_name, sides_of, steps_of
from bundle.cascade.pace import Pace, scratch_bytes
from bundle.cascade.scratch import ScratchImage, check_zarr, create_array, open_group, pending_tiles
from bundle.cascade.sketch import Sketch
from bundle.cascade.slabs import SlabFiles
from bundle.cascade.slice_wise import SliceWise
from bundle.cascade.tile_plan import TilePlan, plan_tiles

__all__ = [
    "CONDITIONINGS",
    "Cascade",
    "CascadeInferer",
    "ConditionedInferer",
    "LiveBytes",
    "Pace",
    "ResNetGenerator",
    "ResidualBlock",
    "ScratchImage",
    "Sketch",
    "SlabFiles",
    "SliceWise",
    "TilePlan",
    "WhiteNoised",
    "check_zarr",
    "create_array",
    "footprint",
    "on_meta",
    "open_group",
    "pending_tiles",
    "plan_tiles",
    "residual_generators",
    "sample_name",
    "scratch_bytes",
    "sides_of",
    "steps_of",
]
