"""Make and check the model card for the Hugging Face hub, which hosts the zoo's bundles: front matter and model card.

A repository on the hub shows the `README.md` next to `LICENSE`. It is made from `docs/README.md`, which itself has no
front matter, because `monai.bundle.push_to_hf_hub` adds some to a copy of it.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

from monai.bundle import ConfigParser

from apps.zoo.submission import CheckFailed, Submission

#: The card's file in the archive.
CARD = "README.md"
#: Metadata that the hub filters by; MONAI's own upload sets only the licence, the library and the first two tags.
FRONT = {
    "license": "apache-2.0",
    "library_name": "monai",
    "pipeline_tag": "image-to-image",
    "tags": ["monai", "medical", "medical-imaging", "ct", "image-to-image", "gan", "kernel-conversion", "denoising"],
}
#: Names of licences on the hub, by words in their texts.
LICENCES = {"Apache License Version 2.0": "apache-2.0", "MIT License": "mit"}
RELATIVE = r"\]\((?!https?:|#)([^)#\s]+)"


def card(root: Path) -> str:
    """Return the model card with front matter, and with the links of `docs/README.md` adapted to the folder above."""
    text = (root / "docs" / "README.md").read_text(encoding="utf-8")
    text = re.sub(RELATIVE, lambda match: f"]({posixpath.normpath(posixpath.join('docs', match[1]))}", text)
    lines = [f"{key}: {json.dumps(value)}" for key, value in FRONT.items()]  # JSON is valid YAML
    return "\n".join(["---", *lines, "---", "", text])


def hub_card(submission: Submission) -> str:
    """Check the packed card: its front matter, its licence, and the targets of its links.

    Raises:
        CheckFailed: If it has no front matter, a licence or library other than the bundle's, or a link to a file that
            is not packed; or if `docs/README.md` has front matter of its own.
    """
    if submission.text("docs/README.md").startswith("---"):
        raise CheckFailed(
            "docs/README.md begins with front matter, which MONAI's upload adds again; leave it to the hub."
        )
    match = re.match(r"---\n(.*?)\n---\n\n# ", submission.text(CARD), re.DOTALL)
    if not match:
        raise CheckFailed(
            f"{CARD} has no front matter and title; the hub shows neither licence nor library without it."
        )
    path = submission.zoo / "front_matter.yml"
    path.write_text(match[1], encoding="utf-8")
    front = ConfigParser.load_config_file(str(path))
    words = " ".join(submission.text("LICENSE").split())
    licence = next((name for text, name in LICENCES.items() if text in words), None)
    for key, value in (("license", licence), ("library_name", "monai"), ("pipeline_tag", "image-to-image")):
        if front.get(key) != value:
            raise CheckFailed(f"{CARD} has {key} {front.get(key)!r} in its front matter; it has to be {value!r}.")
    missing = {"monai", "medical"} - set(front.get("tags") or ())
    if missing:
        raise CheckFailed(f"{CARD} lacks the tag {min(missing)!r}, by which MONAI's bundles are found; add it.")
    links = re.findall(RELATIVE, submission.text(CARD))
    for link in links:
        if not (submission.folder / link).exists():
            raise CheckFailed(
                f"{CARD} links to {link}, which the submission does not contain; pack it or drop the link."
            )
    return f"{front['license']}, {front['pipeline_tag']}, {len(front['tags'])} tags, {len(links)} links"
