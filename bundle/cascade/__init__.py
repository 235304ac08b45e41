"""The paper: a U-Net for the whole image at low resolution, then residual networks of growing resolution.

Read `cascade` first, the specification, then `inferer`, which gives the same numbers tile by tile.

- networks: `sketch` (image to edges), `generators` (of the finer scales), `noise` (what images from scratch start
from),
  `conditioned` (the network that a request asks for);
- tiling: `receptive_field` (how far a network looks), `tile_plan` (how scales are cut), `memory` (what a tile takes),
  `scratch` (scales on disk).
"""

from bundle.cascade.cascade import CONDITIONINGS, Cascade
from bundle.cascade.conditioned import ConditionedInferer
from bundle.cascade.generators import ResidualBlock, ResNetGenerator, octaves, residual_generators, silence
from bundle.cascade.inferer import CascadeInferer
from bundle.cascade.memory import Footprint, footprint, live_bytes, on_meta
from bundle.cascade.noise import WhiteNoised, steps_of
from bundle.cascade.scratch import ScratchImage, create, open_group, own, parts, put, settle
from bundle.cascade.sketch import Sketch
from bundle.cascade.tile_plan import PLANNED, plan

__all__ = [
    "CONDITIONINGS",
    "PLANNED",
    "Cascade",
    "CascadeInferer",
    "ConditionedInferer",
    "Footprint",
    "ResNetGenerator",
    "ResidualBlock",
    "ScratchImage",
    "Sketch",
    "WhiteNoised",
    "create",
    "footprint",
    "live_bytes",
    "octaves",
    "on_meta",
    "open_group",
    "own",
    "parts",
    "plan",
    "put",
    "residual_generators",
    "settle",
    "silence",
    "steps_of",
]
