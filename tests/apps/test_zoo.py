"""The model zoo's requirements hold, and each check reports if one does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.zoo import __main__ as zoo
from apps.zoo import archive, documents, files, hub, metadata, networks, packages, pull_request, style, unit_tests
from apps.zoo.submission import CheckFailed, Submission

ROOT = Path(__file__).parents[2]
QUICK = (
    files.files,
    files.sizes,
    files.personal_paths,
    documents.licence,
    documents.data_licence,
    documents.weights_licence,
    documents.model_card,
    documents.commands,
    documents.links,
    hub.hub_card,
    style.docstrings,
    metadata.version,
    metadata.schema,
    metadata.names,
    packages.pins,
    packages.imports,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return zoo.submit(ROOT, tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def submission(whole, tmp_path):
    """A copy that a test may break."""
    shutil.copytree(whole.folder, tmp_path / "models" / archive.NAME)
    shutil.copytree(whole.zoo / "ci", tmp_path / "ci")
    return Submission(tmp_path, tmp_path / "models" / archive.NAME, ROOT)


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return edit


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def write(path: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content

    def put(folder: Path) -> None:
        (folder / path).write_bytes(data)

    return put


def with_meta(**values: object) -> Callable[[Path], None]:
    """Set keys of the metadata; None takes one away."""

    def edit(folder: Path) -> None:
        path = folder / "configs" / "metadata.json"
        meta = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))

    return edit


def large(**values: str) -> Callable[[Path], None]:
    entry = {
        "path": "models/big.pt",
        "url": "https://x.org/big.pt",
        "hash_type": "sha256",
        "hash_val": "0" * 64,
        **values,
    }
    return write("large_files.yml", json.dumps({"large_files": [entry]}))  # YAML can be written as JSON


META = json.loads((ROOT / "configs" / "metadata.json").read_text())
PACKAGES = META["required_packages_version"]
BROKEN = [
    (files.files, remove("LICENSE"), "LICENSE is missing"),
    (files.files, remove("models/model.pt"), "models/model.pt is missing"),
    (files.files, lambda folder: (folder / "metadata.json").symlink_to("configs/metadata.json"), "is a link"),
    (files.sizes, write("models/big.pt", bytes(archive.LIMIT + 1)), "big.pt has 25.0 MB"),
    (files.sizes, large(url="ftp://x.org"), "it must be https"),
    (files.sizes, large(hash_val="0"), "no valid hash"),
    (files.sizes, large(hash_type="crc"), "no valid hash"),
    (files.sizes, large(path="models/model.pt"), "models/model.pt is packed and in large_files.yml"),
    (files.sizes, write("large_files.yml", "large_files: {}"), "must hold a list"),
    (
        files.personal_paths,
        replace("configs/train.json", '"."', '"/home/me/bundle"'),
        "train.json names /home/me/bundle",
    ),
    (files.personal_paths, write("docs/note.md", "see C:\\Users\\me"), "note.md names C:"),
    (documents.licence, write("LICENSE", "MIT License"), "not the whole text"),
    (documents.data_licence, remove("docs/data_license.txt"), "data_license.txt is missing"),
    (
        documents.data_licence,
        replace("docs/data_license.txt", "  CC BY 4.0\n", "  free\n"),
        "gives lungdx_A0002 no licence",
    ),
    (
        documents.data_licence,
        replace("docs/data_license.txt", "CC BY 3.0   http", "CC0   http"),
        "the licence CC BY 3.0",
    ),
    (
        documents.data_licence,
        replace("docs/data_license.txt", "CC BY, no version given", "CC BY"),
        "no licence; name it",
    ),
    (
        documents.data_licence,
        replace("docs/data_license.txt", "Test alone", "Training too"),
        "gives kernels, low doses no",
    ),
    (documents.weights_licence, remove("docs/weights_license.txt"), "weights_license.txt is missing"),
    (documents.weights_licence, write("models/model_new.pt", b""), "do not agree on model_new.pt"),
    (documents.weights_licence, remove("models/model_xray.pt"), "do not agree on model_xray.pt"),
    (documents.weights_licence, large(path="models/big.pt"), "do not agree on big.pt"),
    (
        documents.weights_licence,
        replace("docs/weights_license.txt", "Apache-2.0\nmodel_s", "\nmodel_s"),
        "gives model.pt",
    ),
    (documents.weights_licence, replace("docs/weights_license.txt", "Outputs\n", "\n"), "what holds for outputs"),
    (hub.hub_card, remove("README.md"), "README.md is missing"),
    (hub.hub_card, replace("docs/README.md", "# CT", "---\n---\n# CT"), "begins with front matter"),
    (hub.hub_card, replace("README.md", "---\n", ""), "no front matter and title"),
    (
        hub.hub_card,
        replace("README.md", '"apache-2.0"', '"mit"'),
        "license 'mit' in its front matter; it has to be 'apach",
    ),
    (hub.hub_card, replace("LICENSE", "Apache License", "A License"), "license 'apache-2.0' .* has to be None"),
    (hub.hub_card, replace("README.md", 'library_name: "monai"', "library_name: 1"), "library_name 1"),
    (hub.hub_card, replace("README.md", "image-to-image", "image-to-3d"), "pipeline_tag 'image-to-3d'"),
    (hub.hub_card, replace("README.md", '"medical", ', ""), "lacks the tag 'medical'"),
    (hub.hub_card, remove("docs/dicom.md"), "README.md links to docs/dicom.md"),
    (
        style.docstrings,
        write("bundle/extra.py", '"""X."""\n\n\ndef f():\n    return 1\n'),
        "bundle/extra.py, f, has no",
    ),
    (style.docstrings, write("bundle/extra.py", "X = 1\n"), "bundle/extra.py, the module, has no"),
    (documents.model_card, replace("docs/README.md", "# CT", "CT"), "begins with 'CT"),
    (
        documents.model_card,
        replace("docs/README.md", "#### **Preprocessing**", "### **Preprocessing**"),
        "Preprocessing",
    ),
    (
        documents.model_card,
        replace("docs/README.md", "### **Tags**\n", "### **Tags**\n\n## **Data**\n"),
        "has nothing below",
    ),
    (
        documents.commands,
        replace("docs/README.md", "python -m monai.bundle run inf", "make infer # inf"),
        "says `make infer",
    ),
    (documents.commands, remove("configs/evaluate.json"), "without configs/evaluate.json"),
    (documents.links, remove("docs/dicom.md"), "links to dicom.md"),
    (documents.links, write("docs/note.md", "[tests](../../tests)"), "links to ../../tests"),
    (metadata.version, with_meta(version="0.2"), "not three numbers"),
    (metadata.version, with_meta(version="9.9.9"), "is not in the changelog"),
    (
        metadata.version,
        with_meta(changelog={**META["changelog"], "10.0.0": "ahead"}),
        "older than the changelog's 10.0.0",
    ),
    (metadata.schema, with_meta(schema="https://x.org/other.json"), "schema other.json is not in tests/"),
    (metadata.schema, with_meta(copyright=None), "'copyright' is a required property"),
    (metadata.schema, with_meta(name=None), "no name"),
    (metadata.names, replace("configs/metadata.json", '"image": {', '"source": {'), r"inputs \['source'\]"),
    (packages.pins, with_meta(numpy_version="2.4.6"), "numpy 2.4.6"),
    (packages.pins, with_meta(required_packages_version={**PACKAGES, "zarr": "3.1.6"}), "zarr 3.1.6"),
    (packages.pins, with_meta(required_packages_version={**PACKAGES, "scipy": ">=1.15"}), "not a version"),
    (packages.imports, write("bundle/extra.py", "def f():\n    import pytest\n"), "imports pytest"),
    (packages.imports, replace("configs/train.json", '"$import sys"', '"$import hypothesis"'), "imports hypothesis"),
]


@pytest.mark.parametrize("check", QUICK)
def test_the_submission_passes(whole, check):
    assert check(whole)


@pytest.mark.parametrize("check, breaks, message", BROKEN, ids=[f"{case[0].__name__}-{case[2]}" for case in BROKEN])
def test_what_is_broken_is_refused(submission, check, breaks, message):
    breaks(submission.folder)
    with pytest.raises(CheckFailed, match=message):
        check(submission)


def test_every_quick_check_is_broken_once_and_every_check_is_run():
    assert {case[0] for case in BROKEN} == set(QUICK)
    slow = {style.form, networks.data_shape, networks.torchscript, networks.onnx, unit_tests.unit_tests}
    assert set(zoo.CHECKS) == {*QUICK, *slow}


def test_private_functions_and_magic_methods_need_no_docstring(submission):
    code = '"""X."""\n\n\nclass A:\n    """Y."""\n\n    def __len__(self):\n        return 1\n\n\ndef _f():\n    pass\n'
    write("bundle/extra.py", code)(submission.folder)
    assert style.docstrings(submission)


def test_the_hub_s_card_is_the_bundle_s_with_links_from_the_folder_above(whole):
    card, own = whole.text("README.md"), whole.text("docs/README.md")
    front, _, rest = card.removeprefix("---\n").partition("\n---\n\n")
    assert "](docs/dicom.md)" in rest and "](dicom.md)" in own and "](dicom.md)" not in rest
    assert "](https://" in own or "https://" in own
    assert rest.replace("](docs/", "](") == own
    assert front.splitlines()[0] == 'license: "apache-2.0"' and len(front.splitlines()) == len(hub.FRONT)


def test_every_check_is_in_the_pull_request_once_and_one_that_fails_leaves_its_line_open():
    lines = (*pull_request.TEMPLATE, *pull_request.GUIDE)
    named = [name for line in lines for name in line.checks]
    assert sorted(named) == sorted(one.__name__ for one in zoo.CHECKS)
    outcomes = {name: pull_request.Outcome(name != "sizes", f"says {name}") for name in named}
    page = pull_request.page("1.2.3", "It does this.", outcomes).splitlines()
    assert [line[6:18] for line in page if line.startswith("- [ ]")] == ["Files larger"]
    assert sum(line.startswith("- [x]") for line in page) == len(lines) - 1
    assert "  - `make zoo-check`, `sizes`: FAILS, says sizes" in page
    assert "its checks said of version 1.2.3:" in page


def test_the_page_of_the_pull_request_is_what_the_command_writes():
    """But for what the checks said, and for the version."""
    text = (ROOT / "docs" / "zoo_pull_request.md").read_text(encoding="utf-8")
    found = re.findall(r"^  - `make zoo-check`, `(\w+)`: (.+)$", text, re.MULTILINE)
    outcomes = {name: pull_request.Outcome(not said.startswith("FAILS"), said) for name, said in found}
    version = re.search(r"said of version (\d+\.\d+\.\d+):", text)[1]
    assert text == pull_request.page(version, META["description"], outcomes)
    assert all(outcome.holds for outcome in outcomes.values())


def test_what_the_code_can_do_without_need_not_be_named(submission):
    write("bundle/extra.py", "try:\n    import pytest\nexcept ImportError:\n    pytest = None\n")(submission.folder)
    assert packages.imports(submission)


def test_a_file_to_download_need_not_be_there(submission):
    remove("models/model.pt")(submission.folder)
    large(path="models/model.pt")(submission.folder)
    assert files.files(submission) and "1 to download" in files.sizes(submission)


def test_an_index_without_the_packages_is_refused(submission, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CheckFailed, match=r"no wheels for Python 3\.10"):
        packages.ask_index(submission)


@pytest.mark.slow
@pytest.mark.parametrize(
    "breaks, message",
    [
        (replace("configs/metadata.json", '"num_channels": 1', '"num_channels": 2'), "channel"),
        (replace("configs/inference.json", '"_target_": "UNet"', '"_target_": "NoNet"'), "NoNet"),
    ],
)
def test_a_network_that_does_not_fit_the_metadata_is_refused(submission, breaks, message):
    breaks(submission.folder)
    with pytest.raises(CheckFailed, match=message):
        networks.data_shape(submission)


@pytest.mark.slow
def test_a_script_that_computes_something_else_is_refused(submission):
    edit = replace(
        "bundle/cascade/cascade.py",
        "result = result + crop(output, excess)",
        "result = result + crop(output, excess) * (2 - torch.jit.is_scripting())",
    )
    edit(submission.folder)
    with pytest.raises(CheckFailed, match="TorchScript file differs from the network"):
        networks.torchscript(submission)


@pytest.mark.slow
def test_an_onnx_file_that_computes_something_else_is_refused(submission):
    pytest.importorskip("onnxruntime")
    edit = replace(
        "bundle/cascade/generators.py",
        "return self.layers(channels_last(x))",
        "return self.layers(channels_last(x)) * (2 - __import__('torch').compiler.is_exporting())",
    )
    edit(submission.folder)
    with pytest.raises(CheckFailed, match="scale 1 in ONNX differs"):
        networks.onnx(submission)


@pytest.mark.slow
@pytest.mark.parametrize(
    "breaks, message",
    [
        (replace("bundle/transforms/lungs.py", "import annotations\n", "import annotations\nimport abc\n"), "isort"),
        (replace("bundle/transforms/lungs.py", "def ", "\n\ndef "), "black"),
        (write("bundle/extra.py", "def f(x=[]):\n    return x\n"), "flake8"),
    ],
)
def test_code_that_the_zoo_s_tools_refuse_is_refused(submission, breaks, message):
    pytest.importorskip("black")
    for path in (submission.folder / "bundle").rglob("*.py"):  # the rest, which passes, would take three times as long
        if path.name != "lungs.py":
            path.unlink()
    breaks(submission.folder)
    with pytest.raises(CheckFailed, match=f"-m {message} "):
        style.form(submission)


@pytest.mark.parametrize(
    "body, message",
    [
        ("def test_it(self): self.assertEqual(1, 2)", "AssertionError: 1 != 2"),
        ("pass", "ran no test"),
        ("@unittest.skip('why')\n    def test_it(self): pass", "ran no test, or skipped"),
    ],
)
def test_unit_tests_that_fail_or_do_not_run_are_refused(submission, body, message):
    where = submission.zoo / "ci" / "unit_tests"
    (where / f"{unit_tests.TESTS[0]}.py").write_text(f"import unittest\n\nclass T(unittest.TestCase):\n    {body}\n")
    with pytest.raises(CheckFailed, match=message):
        unit_tests.unit_tests(submission)


def test_the_unit_tests_are_named_as_the_zoo_looks_for_them():
    assert {path.stem for path in (ROOT / "apps" / "zoo" / "ci" / "unit_tests").glob("*.py")} == set(unit_tests.TESTS)


def test_nothing_of_the_bundle_is_forgotten():
    parts = [path for part in ("bundle", "configs", "docs", "models") for path in (ROOT / part).rglob("*")]
    caches = {"__pycache__", ".ruff_cache", ".pytest_cache"}
    there = {path.relative_to(ROOT) for path in parts if path.is_file() and not caches & set(path.parts)}
    left = there - set(archive.submission_files(ROOT))
    scripts = {f"docs/figures/{name}.py" for name in ("calibrate_scanner", "projection_noise")}
    assert {str(path) for path in left} <= {"bundle/ruff.toml", *scripts}


def test_the_archive_is_one_folder_and_the_same_bytes_whenever_it_is_made(submission, tmp_path):
    first = archive.pack(submission.folder, tmp_path / "1")
    for path in submission.folder.rglob("*"):
        os.utime(path, (0, 10**9))
    again = archive.pack(submission.folder, tmp_path / "2")
    assert first.name == f"ct_kernel_translation_gan_v{META['version']}.zip"
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as packed:
        names = packed.namelist()
    assert names == sorted(names) and {name.split("/")[0] for name in names} == {archive.NAME}


def test_a_file_too_large_is_packed_neither_way(submission, tmp_path):
    write("models/big.pt", bytes(archive.LIMIT + 1))(submission.folder)
    with pytest.raises(CheckFailed, match=r"big\.pt has 25\.0 MB.*large_files\.yml"):
        archive.pack(submission.folder, tmp_path)
    large()(submission.folder)
    with zipfile.ZipFile(archive.pack(submission.folder, tmp_path)) as packed:
        names = [name.removeprefix(f"{archive.NAME}/") for name in packed.namelist()]
    assert "large_files.yml" in names and "models/big.pt" not in names and "models/model.pt" in names


def test_all_checks_are_run_and_one_that_refuses_ends_in_an_error(monkeypatch, capsys, tmp_path):
    def refuse(_: Submission) -> str:
        raise CheckFailed("no")

    monkeypatch.setattr(zoo, "CHECKS", (refuse, metadata.version))
    monkeypatch.setattr(pull_request, "TEMPLATE", (pull_request.Line("Both", ("refuse", "version")),))
    monkeypatch.setattr(pull_request, "GUIDE", ())
    with pytest.raises(SystemExit, match="1 of the checks fail"):
        zoo.check(page=str(tmp_path / "page.md"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["FAIL", "refuse"], ["ok", "version"]]
    assert "- [ ] Both\n  - `make zoo-check`, `refuse`: FAILS, no\n" in (tmp_path / "page.md").read_text()
