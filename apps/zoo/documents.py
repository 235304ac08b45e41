"""Check the documents: licences of code, data, weights and outputs, and the model card in the zoo's template."""

from __future__ import annotations

import re
from pathlib import Path

from apps.zoo.archive import large_files
from apps.zoo.submission import CheckFailed, Submission

#: Headings of the zoo's template, in order; the last four are optional there, but this bundle has them.
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
LICENCES = re.compile(r"CC0|CC BY(?:-\w+)* \d\.\d|CC BY(?=, no version given)|Apache-2\.0|BSD-2-Clause|MIT")


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

    It may give `no licence stated` for an image used only for testing, from which nothing in the bundle is made.

    Raises:
        CheckFailed: If an image has no licence, or a licence no address.
    """
    images = licensed(submission, "docs/data_license.txt")
    return (
        f"{len(images)} images, {sum(not licences for licences in images.values())} for tests without a stated licence"
    )


def weights_licence(submission: Submission) -> str:
    """Check that `docs/weights_license.txt` gives the licence of each file of weights, and that of the outputs.

    Raises:
        CheckFailed: If a file in `models/` or to be downloaded has no licence, a listed file does not exist, or outputs
            are not covered.
    """
    name = "docs/weights_license.txt"
    listed = set(licensed(submission, name))
    there = {path.name for path in (submission.folder / "models").glob("*.pt")}
    there |= {Path(entry["path"]).name for entry in large_files(submission.folder)}
    if listed != there:
        one = min(listed ^ there)
        raise CheckFailed(f"{name} and models/ do not agree on {one}; give each file of weights its licence there.")
    if not re.search(r"^Outputs\n\n\S", submission.text(name), re.MULTILINE):
        raise CheckFailed(f"{name} does not say what holds for outputs; write it below a line `Outputs`.")
    return f"{len(listed)} files of weights, and outputs"


def licensed(submission: Submission, name: str) -> dict[str, list[str]]:
    """Parse a text on licences: return the licences given below each entry, a line `name  what it is`.

    Raises:
        CheckFailed: If there are no entries, an entry has no licence, or a licence has no address.
    """
    entries, _, addresses = submission.text(name).partition("Licence texts")
    known = dict(re.findall(r"^(\S.*?)\s{2,}(https://\S+)$", addresses, re.MULTILINE))
    listed = re.findall(r"^(\S+(?: \S+)*) {2,}\S.*((?:\n {10,}\S.*)*)", entries, re.MULTILINE)
    if not listed:
        raise CheckFailed(f"{name} lists nothing; give each a line `name  what it is` and its licence below.")
    tests = entries.partition("\nTest alone")[2].partition("\n\n\n")[0]
    result = {one: LICENCES.findall(below) for one, below in listed}
    for one, below in listed:
        unstated = "no licence stated" in below and f"\n{one}  " in tests
        if not result[one] and not unstated:
            raise CheckFailed(f"{name} gives {one} no licence; name it below, one of {', '.join(known)}.")
        for licence in result[one]:
            if licence not in known:
                raise CheckFailed(f"{name} gives {one} the licence {licence}; add its address below `Licence texts`.")
    return result


def model_card(submission: Submission) -> str:
    """Check that `docs/README.md` has a title and the sections of the zoo's template, in order and not empty.

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
    """Check that the model card's commands fit the unpacked bundle: run by Python, with configs that it contains.

    Raises:
        CheckFailed: If a command does not.
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
