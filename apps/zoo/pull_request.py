"""Write the pull request to the zoo: each line of its checklist, the command that proves it, and its outcome.

The lines are quoted from the zoo's template, without an example that would name somebody's folder, followed by further
requirements of its guide for contributors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COMMAND = "make zoo-check"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a check: whether it holds, and its message."""

    holds: bool
    said: str


@dataclass(frozen=True)
class Line:
    """A line of the checklist, the names of the checks that prove it, and a remark on what no check can prove."""

    text: str
    checks: tuple[str, ...]
    remark: str = ""


TEMPLATE = (
    Line(
        "Codeformat tests passed locally by running `./runtests.sh --codeformat`.",
        ("form",),
        "The same tools with the zoo's settings. pytype supports no Python above 3.12 and was not run; mypy was"
        " (`make lint`).",
    ),
    Line("In-line docstrings updated.", ("docstrings",)),
    Line(
        "Update `version` and `changelog` in `metadata.json` if changing an existing bundle.",
        ("version",),
        "A new bundle: the zoo has no version of it.",
    ),
    Line(
        "Please ensure the naming rules in config files meet our requirements (please refer to: `CONTRIBUTING.md`).",
        ("names", "unit_tests"),
        "The unit tests call `check_properties` for inference, training and evaluation.",
    ),
    Line(
        "Ensure versions of packages such as `monai`, `pytorch` and `numpy` are correct in `metadata.json`.",
        ("schema", "pins", "imports"),
        "`make zoo-check ARGS=--index` asks the package index for wheels of each.",
    ),
    Line(
        "Descriptions should be consistent with the content, such as `eval_metrics` of the provided weights and"
        " TorchScript modules.",
        ("model_card", "commands", "links", "data_shape", "torchscript", "onnx"),
        "The metadata have no `eval_metrics`; the model card names the command of its tables. No TorchScript file is"
        " part of it, and the model card says that TensorRT is untested.",
    ),
    Line(
        "Files larger than 25MB are excluded and replaced by providing download links in `large_file.yml`.", ("sizes",)
    ),
    Line("Avoid using path that contains personal information within config files.", ("personal_paths",)),
)
GUIDE = (
    Line("Necessary and preferred files", ("files",)),
    Line(
        "Licence of the bundle, of its data, of weights and outputs",
        ("licence", "data_licence", "weights_licence"),
        "Nothing was trained on the images without a stated licence, nor on the ones under `Test alone`.",
    ),
    Line("Model card on the hub", ("hub_card",), "The archive's `README.md`, made from `docs/README.md`."),
)
HEAD = """# The pull request to the Model Zoo

A dry run, not sent yet. Everything below *Title* is the text of the pull request; `make zoo-check` wrote it, with what
its checks said of version {version}:

```bash
make zip
make zoo-check ARGS="--page docs/zoo_pull_request.md"
```

To send it: open an issue at the zoo that proposes the bundle. Unpack the archive of `make zip` into `models/` on a
branch `[ticket]-ct_kernel_translation_gan` from `dev`, and copy `apps/zoo/ci` over the zoo's `ci`. Add no name to
`ci/bundle_custom_data.py`: no check needs an exception. Then put the issue's number into *Title* and below, and open
the pull request to `dev`. [zoo.md](zoo.md) says what each check looks at, and what only the zoo can check.

## Title

`[ticket] Add CT kernel translation GAN [mgpu]`

## Text

Fixes #[ticket].

### Description

A new bundle, `ct_kernel_translation_gan`. {description}

The weights for inference are inside (`models/model.pt`), with those of the other experiments beside them. Its package
is `bundle/` in place of `scripts/`. The tests on several GPUs, for which `[mgpu]` asks, have run here on two processes
without a GPU.

### Status

**Ready**

### Please ensure all the checkboxes:
"""


def page(version: str, description: str, outcomes: Mapping[str, Outcome]) -> str:
    """Return the page in Markdown.

    Args:
        version: version of the bundle.
        description: description of the bundle, in sentences.
        outcomes: outcomes by the name of the check.
    """
    lines = [HEAD.format(version=version, description=description).rstrip(), ""]
    for line in TEMPLATE:
        lines += proven(line, outcomes)
    lines += ["", "### What the guide for contributors asks besides", ""]
    for line in GUIDE:
        lines += proven(line, outcomes)
    return "\n".join(lines) + "\n"


def proven(line: Line, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield a line of the checklist, ticked if all of its checks hold, and a line for each check."""
    mark = "x" if all(outcomes[name].holds for name in line.checks) else " "
    yield f"- [{mark}] {line.text}"
    for name in line.checks:
        outcome = outcomes[name]
        yield f"  - `{COMMAND}`, `{name}`: {'' if outcome.holds else 'FAILS, '}{outcome.said}"
    if line.remark:
        yield f"  - {line.remark}"
