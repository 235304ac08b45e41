"""The paper: a U-Net for the whole image at low resolution, then residual networks of growing resolution.

Read `cascade` first, the specification, then `inferer`, which gives the same numbers tile by tile.

- networks: `sketch` (image to edges), `generators` (of the finer scales), `noise` (the input for images from scratch),
  `conditioned` (the network that a request asks for);
- tiling: `receptive_field` (the reach of a network), `tile_plan` (how scales are cut), `memory` (what a tile needs, by
  the shapes of `outputs`), `scratch` (scales on disk), `slabs` (what is made again rather than kept), `rows` (in which
  order), `pace` (how long it all takes, measured on one tile).
"""

from bundle.cascade.cascade import CONDITIONINGS, Cascade
from bundle.cascade.conditioned import ConditionedInferer
from bundle.cascade.generators import ResidualBlock, ResNetGenerator, residual_generators
from bundle.cascade.inferer import CascadeInferer
from bundle.cascade.memory import LiveBytes, footprint, on_meta
from bundle.cascade.noise import WhiteNoised, sample_name, steps_of
from bundle.cascade.pace import Pace, scratch_bytes
from bundle.cascade.scratch import ScratchImage, check_zarr, create_array, open_group, pending_tiles
from bundle.cascade.sketch import Sketch
from bundle.cascade.slabs import Slabs
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
    "Slabs",
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
    "steps_of",
]
