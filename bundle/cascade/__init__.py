"""The paper: a U-Net for the whole image at low resolution, then residual networks of growing resolution.

Read `cascade` first, the specification, then `inferer`, which gives the same numbers tile by tile.

- networks: `sketch` (image to edges), `generators` (of the finer scales), `noise` (the input for images from scratch),
  `conditioned` (the network that a request asks for);
- tiling: `receptive_field` (the reach of a network), `tile_plan` (how scales are cut), `memory` (what a tile needs, by
  the shapes of `outputs`), `scratch` (scales on disk).
"""

from bundle.cascade.cascade import CONDITIONINGS, Cascade
from bundle.cascade.conditioned import ConditionedInferer
from bundle.cascade.generators import ResidualBlock, ResNetGenerator, residual_generators
from bundle.cascade.inferer import CascadeInferer
from bundle.cascade.memory import LiveBytes, footprint, on_meta
from bundle.cascade.noise import WhiteNoised, steps_of
from bundle.cascade.scratch import ScratchImage, barrier, create_array, open_group, pending_tiles, write_tile
from bundle.cascade.sketch import Sketch
from bundle.cascade.tile_plan import plan_tiles

__all__ = [
    "CONDITIONINGS",
    "Cascade",
    "CascadeInferer",
    "ConditionedInferer",
    "LiveBytes",
    "ResNetGenerator",
    "ResidualBlock",
    "ScratchImage",
    "Sketch",
    "WhiteNoised",
    "barrier",
    "create_array",
    "footprint",
    "on_meta",
    "open_group",
    "pending_tiles",
    "plan_tiles",
    "residual_generators",
    "steps_of",
    "write_tile",
]
