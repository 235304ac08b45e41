"""The metadata: by the zoo's schema, with a version that its own changelog knows."""

from __future__ import annotations

import hashlib
import re
import shutil

from monai.bundle import verify_metadata

from apps.zoo.submission import RefusedError, Submission


def version(submission: Submission) -> str:
    """The version is three numbers, and the newest of the changelog.

    Whether the zoo has released it already only its own `models/model_info.json` tells.

    Raises:
        RefusedError: If it is not.
    """
    meta = submission.metadata
    name, log = str(meta.get("version")), meta.get("changelog") or {}
    if not re.fullmatch(r"\d+\.\d+\.\d+", name):
        raise RefusedError(f"version {name!r} is not three numbers; take one like 0.2.0.")
    if not log.get(name):
        raise RefusedError(f"version {name} says nothing in the changelog; add a line for it.")
    newest = max(log, key=lambda one: [int(part) for part in one.split(".")])
    if newest != name:
        raise RefusedError(f"version {name} is older than the changelog's {newest}; raise it.")
    return name


def schema(submission: Submission) -> str:
    """MONAI's `verify_metadata` passes by the schema that the metadata name, from the copy in the project's tests.

    Raises:
        RefusedError: If it does not, where the schema is another one, or the name for the zoo's page is missing.
    """
    meta = submission.metadata
    asked = str(meta.get("schema")).rsplit("/", 1)[-1]
    copy = submission.house / "tests" / asked
    if not copy.is_file():
        raise RefusedError(f"schema {asked} is not in tests/; put it there, or name the one that is.")
    where = submission.zoo / "schema.json"
    shutil.copyfile(copy, where)
    meta_file = submission.folder / "configs" / "metadata.json"
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()  # with a file of this hash there, nothing is downloaded
    try:
        verify_metadata(meta_file=str(meta_file), filepath=str(where), hash_val=digest, hash_type="sha256")
    except ValueError as error:
        raise RefusedError(f"metadata.json does not follow {asked}: {' '.join(str(error).split())[:300]}") from error
    if not meta.get("name"):
        raise RefusedError("metadata.json has no name; the zoo's page shows it.")
    return asked


def names(submission: Submission) -> str:
    """The network's input is called `image` and its output `pred`: the zoo's CI feeds and reads them by these names.

    Raises:
        RefusedError: If they are not.
    """
    meta = submission.metadata["network_data_format"]
    for side, expected in (("inputs", "image"), ("outputs", "pred")):
        if list(meta[side]) != [expected]:
            raise RefusedError(f"network_data_format names the {side} {list(meta[side])}; take {expected!r} alone.")
    return "image, pred"
