"""Train the GAN of one scale with MONAI's `AdversarialTrainer`.

`data`: training patches; `batches`: inputs of generator and discriminator; `losses`: the losses; `diffaugment`:
augmentation for the discriminator; `validation`: fixed validation patches; `handlers`: event handlers of the trainer;
`weights`: read and write the weights of one or all scales; `averaging`: running average of the weights; `crossfitting`:
previous scales by cascades that were not trained on the image; `resuming`: resume an interrupted training; `record`:
save the settings of a training; `checks`: refuse settings with which nothing can be trained.
"""

from bundle.training.averaging import warm_average
from bundle.training.batches import THIN, PrepareScaleBatch, ScaleDiscriminator, ScaleGenerator, least_sides
from bundle.training.crossfitting import CrossFitting, images_of
from bundle.training.handlers import ClipGradients, KeepBest, SeedEpochs, StopOnNaN, UpdateAverage, ValidateLast
from bundle.training.losses import AdversarialLosses
from bundle.training.record import record_settings, settings_of, write_record
from bundle.training.resuming import finished, resumable
from bundle.training.validation import FixedPatches
from bundle.training.weights import FineTune, gather, load_trained, scale_parameters

__all__ = [
    "THIN",
    "AdversarialLosses",
    "ClipGradients",
    "CrossFitting",
    "FineTune",
    "FixedPatches",
    "KeepBest",
    "PrepareScaleBatch",
    "ScaleDiscriminator",
    "ScaleGenerator",
    "SeedEpochs",
    "StopOnNaN",
    "UpdateAverage",
    "ValidateLast",
    "finished",
    "gather",
    "images_of",
    "least_sides",
    "load_trained",
    "record_settings",
    "resumable",
    "scale_parameters",
    "settings_of",
    "warm_average",
    "write_record",
]
