"""Check the settings of a training before its first image is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bundle.cascade import Cascade
from bundle.images import Opened, open_image
from bundle.runtime import is_count, is_finite, is_whole

#: Most images of a training that are looked at.
SAMPLE = 8


def check_scale(scale: Any, cascade: Cascade) -> None:
    """Refuse a scale that the cascade lacks.

    Raises:
        ValueError: If the scale is not one of the cascade's.
    """
    if not is_whole(scale) or not 0 <= scale < cascade.num_scales:
        raise ValueError(
            f"scale {scale!r} is not one of 0 to {cascade.num_scales - 1}, the scales of the cascade; take one of them."
        )


def check_numbers(learning_rate: Any, max_minutes: Any, patch_size: Any, **counts: Any) -> None:
    """Refuse numbers with which nothing can be trained.

    Args:
        learning_rate: a finite number above 0.
        max_minutes: a number of minutes, 0 for no limit.
        patch_size: a whole number of voxels from 1 on.
        counts: whole numbers from 1 on, by key.

    Raises:
        ValueError: If a number has the wrong type or is out of range.
    """
    for key, value in {"patch#patch_size": patch_size, **counts}.items():
        if not is_count(value):
            raise ValueError(f"{key} {value!r} is not a whole number from 1 on; take one.")
    if not is_finite(learning_rate) or learning_rate <= 0:
        raise ValueError(f"learning_rate {learning_rate!r} is not a finite number above 0; take one such as 0.001.")
    if not is_finite(max_minutes) or max_minutes < 0:
        raise ValueError(f"max_minutes {max_minutes!r} is not a number from 0 on; take one, 0 for no limit.")


def check_targets(label_dir: Any, conditioning: str, kernel_pairs: Any) -> None:
    """Refuse a training whose target would be its own input.

    Args:
        label_dir: folder of the targets; null if there is none.
        conditioning: what the networks see; with ``image`` they see all of it at every scale.
        kernel_pairs: whether source and target are simulated.

    Raises:
        ValueError: If the networks see the image, and there is no other target.
    """
    if conditioning == "image" and not kernel_pairs and not label_dir:
        raise ValueError(
            f"label_dir {label_dir!r} gives no targets, and this experiment would learn to return its input; give the "
            "folder of the targets, named as the images in dataset_dir, or train with --conditioning sketch."
        )


def check_parts(train: Sequence[Any], validate: Sequence[Any], fold: Any) -> None:
    """Refuse a training that has no image to train on or to validate on.

    Args:
        train: the images to train on.
        validate: the images to validate on.
        fold: number of the fold that is validated on, for the message.

    Raises:
        ValueError: If a part is empty.
    """
    for purpose, images in {"validate": validate, "train": train}.items():
        if not len(images):
            raise ValueError(
                f"fold {fold!r} leaves no image to {purpose} on; give at least 2 images (of 2 patients), one to "
                "validate on, a num_folds of 2 to their number, and a fold from 0 to below it."
            )


def check_images(
    data: Sequence[Mapping[str, Any]], keys: Sequence[str], refusal: Callable[[Opened], str | None]
) -> None:
    """Refuse training images that are not of the kind that the networks are trained for, by a sample of 8 of each key.

    Args:
        data: the images to train and validate on, paths by key.
        keys: keys of the images to look at.
        refusal: returns why an image is unfit, None if it is not (`bundle.transforms.CheckInput.refusal`).

    Raises:
        ValueError: If an image is unfit.
    """
    for key in keys:
        paths = [item[key] for item in data if key in item]
        for path in paths[:: -(-len(paths) // SAMPLE) or 1]:
            if told := refusal(open_image(path)):
                raise ValueError(f"training {key} {str(path)!r} {told}, or set --image#check False.")
