"""One scale's GAN for MONAI's `AdversarialTrainer`.

`data`: its patches. `batches`: what generator and discriminator are given; `losses`; `diffaugment`; `validation`;
`handlers`: what is done beside the iterations; `weights`: of one scale, of all; `averaging`: their running average;
`crossfitting`: previous scales by cascades that have not seen the image; `resuming`: an interrupted training resumes;
`record`: its settings.
"""

from bundle.training.averaging import warm_average
from bundle.training.batches import THIN, PrepareScaleBatch, ScaleDiscriminator, ScaleGenerator
from bundle.training.crossfitting import CrossFitting, images_of
from bundle.training.handlers import KeepBest, SeedEpochs, clip_gradients, stop_on_nan
from bundle.training.losses import AdversarialLosses
from bundle.training.record import write_record
from bundle.training.resuming import resumable
from bundle.training.validation import FixedPatches
from bundle.training.weights import gather, load_trained, scale_parameters

__all__ = [
    "THIN",
    "AdversarialLosses",
    "CrossFitting",
    "FixedPatches",
    "KeepBest",
    "PrepareScaleBatch",
    "ScaleDiscriminator",
    "ScaleGenerator",
    "SeedEpochs",
    "clip_gradients",
    "gather",
    "images_of",
    "load_trained",
    "resumable",
    "scale_parameters",
    "stop_on_nan",
    "warm_average",
    "write_record",
]
