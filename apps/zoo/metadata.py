"""Check the metadata: valid by the zoo's schema, with the newest version of the changelog."""

from __future__ import annotations

import hashlib
import re
import shutil

from monai.bundle import verify_metadata

from apps.zoo.submission import CheckFailed, Submission


def version(submission: Submission) -> str:
    """Check that the version consists of three numbers and is the newest of the changelog.

    Only the zoo's own `models/model_info.json` tells whether it has already been released.

    Raises:
        CheckFailed: If it is not.
    """
    meta = submission.metadata
    name, log = str(meta.get("version")), meta.get("changelog") or {}
    if not re.fullmatch(r"\d+\.\d+\.\d+", name):
        raise CheckFailed(f"version {name!r} is not three numbers; take one like 0.2.0.")
    if not log.get(name):
        raise CheckFailed(f"version {name} is not in the changelog; add a line for it.")
    newest = max(log, key=lambda one: [int(part) for part in one.split(".")])
    if newest != name:
        raise CheckFailed(f"version {name} is older than the changelog's {newest}; raise it.")
    return name


def schema(submission: Submission) -> str:
    """Check the metadata by MONAI's `verify_metadata` against the named schema, from the copy in the project's tests.

    Raises:
        CheckFailed: If they are invalid, name another schema, or lack the name for the zoo's page.
    """
    meta = submission.metadata
    name = str(meta.get("schema")).rsplit("/", 1)[-1]
    copy = submission.root / "tests" / name
    if not copy.is_file():
        raise CheckFailed(f"schema {name} is not in tests/; put it there, or name the one that is.")
    path = submission.zoo / "schema.json"
    shutil.copyfile(copy, path)
    meta_file = submission.folder / "configs" / "metadata.json"
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()  # MONAI downloads nothing if the file has this hash
    try:
        verify_metadata(meta_file=str(meta_file), filepath=str(path), hash_val=digest, hash_type="sha256")
    except ValueError as error:
        raise CheckFailed(f"metadata.json does not follow {name}: {' '.join(str(error).split())[:300]}") from error
    if not meta.get("name"):
        raise CheckFailed("metadata.json has no name; the zoo's page shows it.")
    return name


def names(submission: Submission) -> str:
    """Check that the network's input is named `image` and its output `pred`, as the zoo's CI expects.

    Raises:
        CheckFailed: If they are not.
    """
    meta = submission.metadata["network_data_format"]
    for side, expected in (("inputs", "image"), ("outputs", "pred")):
        if list(meta[side]) != [expected]:
            raise CheckFailed(f"network_data_format names the {side} {list(meta[side])}; take {expected!r} alone.")
    return "image, pred"
