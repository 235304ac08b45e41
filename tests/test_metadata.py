"""metadata.json follows the model zoo's schema, and says the same as the files beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from packaging.utils import canonicalize_name

import bundle
from apps.zoo.packages import pinned

ROOT = Path(__file__).parent.parent
METADATA = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
SCHEMA = json.loads((ROOT / "tests" / "meta_schema_20240725.json").read_text(encoding="utf-8"))


def test_schema() -> None:
    assert METADATA["schema"].endswith("meta_schema_20240725.json")
    jsonschema.validate(METADATA, SCHEMA)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_schema_is_the_one_that_asks(key: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate({k: v for k, v in METADATA.items() if k != key}, SCHEMA)


@pytest.mark.skipif(os.name != "posix", reason="git makes no symbolic links on this system")
def test_top_level_file_is_the_same() -> None:
    assert (ROOT / "metadata.json").is_symlink()
    assert (ROOT / "metadata.json").readlink() == Path("configs/metadata.json")


def test_version() -> None:
    assert METADATA["version"] in METADATA["changelog"]
    assert bundle.__version__ == METADATA["version"]


def test_versions_are_those_pinned_for_the_zoo_s_python() -> None:
    """All of them, and no other; zarr, which its Python has none of, is left out: nothing needs it."""
    named = {
        "monai": METADATA["monai_version"],
        "torch": METADATA["pytorch_version"],
        "numpy": METADATA["numpy_version"],
        **METADATA["required_packages_version"],
    }
    assert {canonicalize_name(name): version for name, version in named.items()} == pinned(ROOT)


def test_output_is_an_image_and_no_segmentation() -> None:
    assert list(METADATA["network_data_format"]["inputs"]) == ["image"]
    assert list(METADATA["network_data_format"]["outputs"]) == ["pred"]
    assert "channel_def" not in METADATA["network_data_format"]["outputs"]["pred"]
