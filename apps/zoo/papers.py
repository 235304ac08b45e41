"""The papers: licence of code and weights, licence of the data, and the model card by the zoo's template."""

from __future__ import annotations

import re

from apps.zoo.submission import RefusedError, Submission

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
#: Licences of data, as `docs/data_license.txt` spells them.
LICENCES = re.compile(r"CC0|CC BY(?:-\w+)* \d\.\d|CC BY(?=, no version given)|Apache-2\.0|MIT")


def licence(submission: Submission) -> str:
    """`LICENSE` is the text of Apache 2.0, which the metadata's copyright and the model card speak of.

    Raises:
        RefusedError: If it is another or cut short.
    """
    text = " ".join(submission.text("LICENSE").split())
    if "Apache License Version 2.0, January 2004" not in text or "END OF TERMS AND CONDITIONS" not in text:
        raise RefusedError("LICENSE is not the whole text of the Apache License 2.0, which docs/README.md says it is.")
    return "Apache-2.0, whole"


def data_licence(submission: Submission) -> str:
    """`docs/data_license.txt` says for every image under which licence it is, and where that can be read.

    Raises:
        RefusedError: on an image without a licence, or a licence without an address.
    """
    name = "docs/data_license.txt"
    text = submission.text(name)
    entries, _, addresses = text.partition("Licence texts")
    known = dict(re.findall(r"^(\S.*?)\s{2,}(https://\S+)$", addresses, re.MULTILINE))
    images = re.findall(r"^(\S+)\s{2,}\S.*((?:\n\s{10,}\S.*)*)", entries, re.MULTILINE)
    if not images:
        raise RefusedError(f"{name} lists no image; give each a line `name  what it is` and its licence below.")
    for image, below in images:
        named = LICENCES.findall(below)
        if not named:
            raise RefusedError(f"{name} gives {image} no licence; name it below, one of {', '.join(known)}.")
        for one in named:
            if one not in known:
                raise RefusedError(f"{name} gives {image} the licence {one}; add its address below `Licence texts`.")
    return f"{len(images)} images"


def model_card(submission: Submission) -> str:
    """`docs/README.md` has a title and the sections of the zoo's template, in its order, none of them empty.

    Raises:
        RefusedError: on the first that lacks.
    """
    name, text = "docs/README.md", submission.text("docs/README.md")
    if not re.match(r"# \S", text):
        raise RefusedError(f"{name} begins with {text[:20]!r}; the template begins with `# ` and the model's title.")
    start = 0
    for heading in HEADINGS:
        found = re.compile(f"^{re.escape(heading)}$", re.MULTILINE).search(text, start)
        if not found:
            raise RefusedError(
                f"{name} has no line {heading!r} behind the section before it; the zoo's template asks for it."
            )
        start = found.end()
        if re.match(r"\s*(#{1,3} |\Z)", text[start:]):
            raise RefusedError(f"{name} says nothing below {heading!r}; write a sentence.")
    return f"{len(HEADINGS)} sections"


def commands(submission: Submission) -> str:
    """The model card's commands run in the unpacked bundle: by Python, with configs that it holds.

    Raises:
        RefusedError: on the first that does not.
    """
    blocks = re.findall(r"```(?:bash)?\n(.*?)```", submission.text("docs/README.md"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").strip().splitlines()]
    for line in lines:
        if line.split()[0] not in ("python", "torchrun"):
            raise RefusedError(
                f"docs/README.md says `{line[:60]}`; in an unpacked bundle there is python and torchrun."
            )
        for file in re.findall(r"configs/[\w.]+", line):
            if not (submission.folder / file).is_file():
                raise RefusedError(f"docs/README.md says `{line[:60]}` without a {file}; pack it, or name another.")
    return f"{len(lines)} commands"


def links(submission: Submission) -> str:
    """Whatever a page in `docs/` points at is a part of the submission.

    Raises:
        RefusedError: on the first link that leads nowhere.
    """
    pages = sorted((submission.folder / "docs").glob("*.md"))
    found = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    ]
    for page, link in found:
        target = (page.parent / link).resolve()
        if not target.exists() or not target.is_relative_to(submission.folder.resolve()):
            raise RefusedError(
                f"docs/{page.name} points at {link}, which the submission does not hold; pack it or unlink it."
            )
    return f"{len(found)} links in {len(pages)} pages"
