"""One scale's GAN for MONAI's `AdversarialTrainer`.

`data`: its patches. `batches`: the inputs of generator and discriminator; `losses`; `diffaugment`; `validation`;
`handlers`: what is done beside the iterations; `weights`: of one scale and of all; `averaging`: their running average;
`crossfitting`: previous scales by cascades that have not seen the image; `resuming`: an interrupted training resumes;
`record`: its settings.
"""

from bundle.training.averaging import warm_average
from bundle.training.batches import THIN, PrepareScaleBatch, ScaleDiscriminator, ScaleGenerator
from bundle.training.crossfitting import CrossFitting, images_of
from bundle.training.handlers import ClipGradients, KeepBest, SeedEpochs, StopOnNaN, UpdateAverage
from bundle.training.losses import AdversarialLosses
from bundle.training.record import record_settings, settings_of, write_record
from bundle.training.resuming import resumable
from bundle.training.validation import FixedPatches
from bundle.training.weights import gather, load_trained, scale_parameters

__all__ = [
    "THIN",
    "AdversarialLosses",
    "ClipGradients",
    "CrossFitting",
    "FixedPatches",
    "KeepBest",
    "PrepareScaleBatch",
    "ScaleDiscriminator",
    "ScaleGenerator",
    "SeedEpochs",
    "StopOnNaN",
    "UpdateAverage",
    "gather",
    "images_of",
    "load_trained",
    "record_settings",
    "resumable",
    "scale_parameters",
    "settings_of",
    "warm_average",
    "write_record",
]
