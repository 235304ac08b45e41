"""The closed lists of MONAI Label's requests, without a server: what each key takes, and who may use a server."""

import io
import json
import subprocess
import sys

import pytest

from apps.label.access import check_access
from apps.label.evaluated import EvaluatedError, check_evaluated
from apps.label.rules import Rule, infer_keys, make_rules, train_keys, why_off
from apps.label.studies import OutsideError, find
from apps.label.uploads import Upload
from apps.label.values import Json, Text, Whole, parse
from bundle.cascade import CONDITIONINGS
from bundle.scanner.kernels import catalogue
from tests.label_payloads import DETACHED, ELSEWHERE, allowed, build, payloads, touch
from tests.label_server import ROOT

DEVICES = ("NVIDIA H100 80GB HBM3:0",)
RULES, INFER, TRAIN = make_rules("model", DEVICES), infer_keys(DEVICES), train_keys(DEVICES)


def values_of(rule: Rule):
    """Every key of a route and what its value may be; keys of JSON as well."""
    for part in (rule.path, rule.query, rule.form, {"body": rule.body} if rule.body else {}):
        for key, value in part.items():
            yield from value.keys.items() if isinstance(value, Json) else [(key, value)]


@pytest.mark.parametrize("route", RULES, ids=" ".join)
def test_no_key_of_any_route_takes_what_a_config_evaluates(route, tmp_path):
    for payload in payloads(tmp_path / "canary"):
        evaluated = isinstance(payload, (dict, list, type(None))) or (
            isinstance(payload, str) and any(sign in payload for sign in ("$", "@", "%", "#", "::", "..", "\n", "\x00"))
        )
        for key, value in values_of(RULES[route]):
            if evaluated and key not in ("password", "client_secret") and (key, payload) != ("label_info", []):
                assert not allowed(value, payload), (key, payload)


def test_the_test_can_fail(tmp_path):
    """A key that takes any text would be found."""
    assert allowed(Text(r"(?s).*", "text", longest=10**6), "a..b")
    assert allowed(INFER["seed"], 3) and not allowed(INFER["seed"], touch(tmp_path))


@pytest.mark.parametrize(
    "key, value",
    [
        ("conditioning", "sketch"),
        *((key, name) for key in ("source_kernel", "target_kernel") for name in ("", "B70f", "UB")),
        *(("memory_budget", size) for size in ("2GiB", "64MiB", "500 MB", "1.5e9", 2**30, 1e9)),
        *(("seed", seed) for seed in (0, 3, "3", 2**63 - 1)),
        *(("device", name) for name in ("cpu", "cuda", "cuda:1", "NVIDIA H100 80GB HBM3:0")),
        *(("result_extension", end) for end in ("", ".nii", ".nii.gz", ".nrrd", ".mha")),
        *(("result_dtype", kind) for kind in ("uint8", "uint16", "int16", "float32")),
        ("result_compress", False),
        ("model_filename", "model_sketch.pt"),
        ("client_id", "user-xyz"),
        ("save_label", True),
        ("label_tag", "translated"),
        ("logging", "WARNING"),
    ],
)
def test_what_stock_clients_send_to_infer_is_taken(key, value):
    INFER[key].check(key, value)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("conditioning", "edges", "conditioning 'edges' is not known; take one of sketch"),
        ("memory_budget", "much", "memory_budget 'much' is not a positive number of bytes; write it like 2GiB"),
        ("memory_budget", True, "memory_budget True is not a positive number of bytes"),
        ("memory_budget", "9e99", "is more than 1125899906842624 bytes"),
        ("memory_budget", float("inf"), "memory_budget inf is not a positive number"),
        ("source_kernel", "b70f", "source_kernel 'b70f' is not known; take one of '', B50f"),
        ("target_kernel", "/etc/passwd", "target_kernel '/etc/passwd' is not known"),
        ("target_kernel", "kernels.json", "target_kernel 'kernels.json' is not known"),
        ("target_kernel", "../B30f", "target_kernel '../B30f' is not known"),
        ("target_kernel", "$1", r"target_kernel '\$1' starts with \$, @ or %"),
        ("target_kernel", None, "target_kernel None is null"),
        ("source_kernel", ["B70f"], r"source_kernel \['B70f'\] is a list"),
        ("seed", "x", "seed 'x' is not a whole number from 0 to 9223372036854775807"),
        ("seed", -1, "seed -1 is not a whole number from 0"),
        ("seed", 2**63, "is not a whole number from 0"),
        ("seed", 1.5, "seed 1.5 is not a whole number"),
        ("seed", True, "seed True is not a whole number"),
        ("seed", "$1", r"seed '\$1' starts with \$, @ or %"),
        ("seed", [0], r"seed \[0\] is a list"),
        ("seed", {"_target_": "x"}, "is a mapping"),
        ("device", "cuda:0; ls", "device 'cuda:0; ls' is not known; take one of NVIDIA H100 80GB HBM3:0, cpu"),
        ("model_filename", "../model.pt", "model_filename '../model.pt' is not a file of the bundle's models"),
        ("model_filename", "model.pth", "is not a file of the bundle's models"),
        ("result_extension", "/x.nii", "result_extension '/x.nii' is not known"),
        ("result_dtype", "object", "result_dtype 'object' is not known"),
        ("label_tag", "../x", "label_tag '../x' is not a tag"),
        ("timeout", float("nan"), "timeout nan is not a number from 1"),
    ],
)
def test_a_refusal_names_key_value_and_rule(key, value, message):
    with pytest.raises(ValueError, match=message) as refusal:
        INFER[key].check(key, value)
    assert "\n" not in str(refusal.value)


def test_the_bundle_s_own_options_are_all_known():
    for name, keys in (("inference", INFER), ("train", TRAIN)):
        options = json.loads((ROOT / "configs" / f"{name}.json").read_text())["displayable_configs"]
        for key, value in options.items():
            keys[key].check(key, value)
    assert set(INFER["conditioning"].names) == set(CONDITIONINGS)
    for key in ("source_kernel", "target_kernel"):
        assert set(INFER[key].names) == {"", *(kernel.name for kernel in catalogue().kernels)}
    assert not {"allow_sharper", "kernel_choice", "kernel_choice#catalogue"} & INFER.keys()


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"seed": NaN}', "NaN is not a number"),
        ('{"seed": -Infinity}', "Infinity is not a number"),
        ('{"seed": 0, "seed": "$x"}', "a key stands twice"),
        ("[" * 100000, "nested too deep|recursion|Expecting"),
        ("[1]", r"params \[1\] is not a mapping"),
        ('"$x"', "is not a mapping"),
        ("{", "is not JSON"),
        ('{"image": "/etc/passwd"}', "key of params 'image' is not known; known: client_id, conditioning, device"),
        ('{"model": "x"}', "key of params 'model' is not known"),
        ('{"seed": 1e999}', "seed inf is not a whole number"),
        ('{"seed": ' + "9" * 5000 + "}", "is not JSON|is not a whole number"),
    ],
)
def test_options_are_one_flat_mapping_of_known_keys(text, message):
    with pytest.raises(ValueError, match=message):
        Json(INFER).check("params", text)


def test_names_of_segments_are_the_one_list_that_is_taken():
    stored = RULES["PUT", "/datastore/label"].form["params"]
    stored.check("params", json.dumps({"label_info": [{"name": "lung", "idx": 1}], "client_id": "user-xyz"}))
    for rows in ([{"_target_": "x"}], [{"name": "$x"}], [["a"]], {"name": "a"}, "$x", [{"name": {"a": 1}}]):
        with pytest.raises(ValueError, match=r"label_info|name"):
            stored.check("params", json.dumps({"label_info": rows}))


@pytest.mark.parametrize("name", ["scan.nrrd", "/tmp/Slicer/scan.NRRD", r"C:\Users\me\scan.nrrd", "scan (1) ü.nrrd"])
def test_a_file_counts_by_the_last_part_of_its_path(name):
    file = io.BytesIO(b"NRRD0004\ntype: short\n\n\0\0")
    file.seek(3)
    Upload().check("file", name, file)
    assert file.tell() == 3


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("scan.nrrd", DETACHED, "not a .nrrd file with header and voxels in one"),
        ("scan.nrrd", DETACHED.replace("data file", "DataFile"), "not a .nrrd file"),
        ("scan.nrrd", "NRRD0004\n" + "# x\n" * 300000 + DETACHED, "not a .nrrd file"),
        ("scan.nrrd", ELSEWHERE, "not a .nrrd file"),
        ("scan.mha", ELSEWHERE, "not a .mha file with header and voxels in one"),
        ("scan.mha", "Comment = ElementDataFile = LOCAL\n" + ELSEWHERE, "not a .mha file"),
        ("scan.mha", DETACHED, "not a .mha file"),
        ("scan.mhd", ELSEWHERE, "of another format"),
        ("scan.pkl", "x", "file 'scan.pkl' is of another format; send .nii.gz"),
        ("$x.nii", "x", "file name '\\$x.nii' is not plain"),
        ("..", "x", "is not plain"),
        ("", "x", "is not plain"),
    ],
)
def test_a_file_that_points_to_another_is_refused(name, content, message):
    with pytest.raises(ValueError, match=message):
        Upload().check("file", name, io.BytesIO(content.format(where="/etc/passwd").encode()))


def test_files_of_a_session_have_any_plain_name_and_point_nowhere():
    for name in ("IM0001", "1.2.840.113", "slice.dcm", "scan.nii.gz"):
        Upload(()).check("files", name, io.BytesIO(b"\0" * 128 + b"DICM"))
    for name, content in (("IM0001", DETACHED), ("IM0001", ELSEWHERE), ("x.mhd", "x"), ("x.nrrd", DETACHED)):
        with pytest.raises(ValueError, match="voxels"):
            Upload(()).check("files", name, io.BytesIO(content.encode()))


class Store:
    """A datastore of one image."""

    def __init__(self, path):
        self.path = path

    def get_image_uri(self, name):
        return str(self.path.resolve()) if name == self.path.name.partition(".")[0] else ""

    def list_images(self):
        return [self.path.name.partition(".")[0]]


def test_images_are_those_in_the_studies(tmp_path, monkeypatch):
    studies, outside = tmp_path / "studies", tmp_path / "outside"
    for folder in (studies / "series", outside, tmp_path / "work"):
        folder.mkdir(parents=True)
    (studies / "scan.nii").touch()
    (outside / "secret.nii").touch()
    (studies / "link").symlink_to(outside)
    (studies / "linked.nii").symlink_to(outside / "secret.nii")
    monkeypatch.chdir(tmp_path / "work")
    store = Store(studies / "scan.nii")
    assert find("", studies, store) == "" and find("scan", studies, store) == "scan"
    assert find("series", studies, store) == find(str(studies / "series"), studies, store) == str(studies / "series")
    linked = ["link", "link/secret.nii", "../outside", "series/../../outside"]
    for image in [*linked, str(outside), str(outside / "secret.nii"), "/etc/passwd", "/nowhere"]:
        with pytest.raises(OutsideError, match="is outside the studies; name one in them") as refusal:
            find(image, studies, store)
        assert "\n" not in str(refusal.value)
    with pytest.raises(OutsideError, match="'linked' is outside"):
        find("linked", studies, Store(studies / "linked.nii"))
    with pytest.raises(FileNotFoundError, match="'nobody' is not among the studies, which hold scan"):
        find("nobody", studies, store)
    (tmp_path / "work" / "scan").touch()  # which MONAI Label would take for the image
    assert find("scan", studies, store) == str(studies / "scan.nii")


def test_the_last_check_goes_into_depth(tmp_path):
    check_evaluated({"image": "/a/b.nii", "seed": 0, "labels": {}, "config": [{"a": "x"}], "none": None})
    for value in (touch(tmp_path), [{"a": [" @x"]}], {"a": {"b": "%x"}}, {"a": build(tmp_path)}, {"$a": 1}):
        with pytest.raises(EvaluatedError, match="which a config"):
            check_evaluated(value)


REALM = {"MONAI_LABEL_AUTH_ENABLE": "true", "MONAI_LABEL_AUTH_REALM_URI": "https://realm"}


def test_a_server_that_others_reach_asks_who_they_are():
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_access(host, {}, anyone=False)
    for host in ("0.0.0.0", "", "::", "192.168.1.5", "example.org"):
        check_access(host, REALM, anyone=False)
        check_access(host, {}, anyone=True)
        for environment in ({}, {**REALM, "MONAI_LABEL_AUTH_ENABLE": "false"}, {"MONAI_LABEL_AUTH_ENABLE": "true"}):
            with pytest.raises(ValueError, match="--anyone_may_use_this_server"):
                check_access(host, environment, anyone=False)


def test_the_command_line_refuses_an_open_server_in_one_line(tmp_path):
    options = ["--host", "0.0.0.0", "--folder", str(tmp_path / "app")]
    command = [sys.executable, "-m", "apps.label", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: host '0.0.0.0' can be reached by others") and not (tmp_path / "app").exists()


def test_routes_that_are_off_say_why():
    assert why_off("GET", "/proxy/dicom/x") and why_off("PUT", "/model/x") and not why_off("GET", "/model/x")
    assert all(("PUT", path) not in RULES for path in ("/model/{model}", "/datastore/image/info"))
    assert parse("body", b'{"a": 1}') == {"a": 1} and allowed(Whole(0, 1), "1")
