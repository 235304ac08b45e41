"""The documents: licence of code and weights, licence of the data, and the model card by the zoo's template."""

from __future__ import annotations

import re

from apps.zoo.submission import CheckFailed, Submission

#: Headings of the zoo's template, in its order; it calls the last four optional, this bundle has them.
HEADINGS = (
    "### **Authors**",
    "### **Tags**",
    "## **Model Description**",
    "## **Data**",
    "#### **Preprocessing**",
    "## **Performance**",
    "## **Additional Usage Steps**",
    "## **System Configuration**",
    "## **Limitations**",
    "## **Citation Info**",
    "## **References**",
)
#: Licences of data, as spelled in `docs/data_license.txt`.
LICENCES = re.compile(r"CC0|CC BY(?:-\w+)* \d\.\d|CC BY(?=, no version given)|Apache-2\.0|MIT")


def licence(submission: Submission) -> str:
    """Check that `LICENSE` is the text of Apache 2.0, to which the metadata's copyright and the model card refer.

    Raises:
        CheckFailed: If it is another text, or incomplete.
    """
    text = " ".join(submission.text("LICENSE").split())
    if "Apache License Version 2.0, January 2004" not in text or "END OF TERMS AND CONDITIONS" not in text:
        raise CheckFailed(
            "LICENSE is not the whole text of the Apache License 2.0 that docs/README.md names; restore it."
        )
    return "Apache-2.0, whole"


def data_licence(submission: Submission) -> str:
    """Check that `docs/data_license.txt` gives the licence of every image, and the address of the licence.

    Raises:
        CheckFailed: If an image has no licence, or a licence no address.
    """
    name = "docs/data_license.txt"
    text = submission.text(name)
    entries, _, addresses = text.partition("Licence texts")
    known = dict(re.findall(r"^(\S.*?)\s{2,}(https://\S+)$", addresses, re.MULTILINE))
    images = re.findall(r"^(\S+)\s{2,}\S.*((?:\n\s{10,}\S.*)*)", entries, re.MULTILINE)
    if not images:
        raise CheckFailed(f"{name} lists no image; give each a line `name  what it is` and its licence below.")
    for image, below in images:
        licences = LICENCES.findall(below)
        if not licences:
            raise CheckFailed(f"{name} gives {image} no licence; name it below, one of {', '.join(known)}.")
        for one in licences:
            if one not in known:
                raise CheckFailed(f"{name} gives {image} the licence {one}; add its address below `Licence texts`.")
    return f"{len(images)} images"


def model_card(submission: Submission) -> str:
    """Check that `docs/README.md` has a title and the sections of the zoo's template, in its order, none empty.

    Raises:
        CheckFailed: If a section is missing or empty.
    """
    name, text = "docs/README.md", submission.text("docs/README.md")
    if not re.match(r"# \S", text):
        raise CheckFailed(f"{name} begins with {text[:20]!r}; the template begins with `# ` and the model's title.")
    start = 0
    for heading in HEADINGS:
        match = re.compile(f"^{re.escape(heading)}$", re.MULTILINE).search(text, start)
        if not match:
            raise CheckFailed(
                f"{name} has no line {heading!r} after the section before it; the zoo's template requires it."
            )
        start = match.end()
        if re.match(r"\s*(#{1,3} |\Z)", text[start:]):
            raise CheckFailed(f"{name} has nothing below {heading!r}; write a sentence.")
    return f"{len(HEADINGS)} sections"


def commands(submission: Submission) -> str:
    """Check that the model card's commands work in the unpacked bundle: run by Python, with configs that it contains.

    Raises:
        CheckFailed: If one does not.
    """
    blocks = re.findall(r"```(?:bash)?\n(.*?)```", submission.text("docs/README.md"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").strip().splitlines()]
    for line in lines:
        if line.split()[0] not in ("python", "torchrun"):
            raise CheckFailed(
                f"docs/README.md says `{line[:60]}`; an unpacked bundle needs commands of python or torchrun."
            )
        for file in re.findall(r"configs/[\w.]+", line):
            if not (submission.folder / file).is_file():
                raise CheckFailed(f"docs/README.md says `{line[:60]}` without {file}; pack it, or name another.")
    return f"{len(lines)} commands"


def links(submission: Submission) -> str:
    """Check that all link targets of pages in `docs/` are part of the submission.

    Raises:
        CheckFailed: If a target is missing.
    """
    pages = sorted((submission.folder / "docs").glob("*.md"))
    targets = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    ]
    for page, link in targets:
        target = (page.parent / link).resolve()
        if not target.exists() or not target.is_relative_to(submission.folder.resolve()):
            raise CheckFailed(
                f"docs/{page.name} links to {link}, which the submission does not contain; pack it or remove the link."
            )
    return f"{len(targets)} links in {len(pages)} pages"
