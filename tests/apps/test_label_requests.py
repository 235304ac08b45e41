"""MONAI Label's server runs nothing that a request holds, reads and writes nothing outside; what is legal goes on.

Against the running server, and, to show that these tests can fail, against MONAI Label's own command.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from apps.label.folder import NAME
from apps.label.rules import OFF, make_rules
from apps.label.values import Json
from tests.label_payloads import DETACHED, ELSEWHERE, allowed, assert_refused, attack, attacks, payloads, write_voxels
from tests.label_server import ROOT, copy_bundle, guarded, make_studies, needs_label, stock

pytestmark = needs_label
RULES = make_rules(NAME)
#: Legal values of the keys that a route needs beside the one that is tried.
NEEDED = {"image": "plain", "id": "nobody", "label": "nobody", "tag": "final", "username": "me", "password": "x"}


def phantom_bytes(studies):
    return (studies / "plain.nii").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with studies, a file beside them, and a link to it."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("studies", "outside", "bundle", "label", "stock"):
        (folder / name).mkdir()
    make_studies(folder / "studies")
    (folder / "outside" / "secret.nii").write_bytes(phantom_bytes(folder / "studies"))
    write_voxels(folder / "outside" / "voxels.raw")
    copy_bundle(folder / "bundle")
    return folder


@pytest.fixture(scope="module")
def server(place):
    with guarded(place / "studies", place / "bundle", place / "label") as served:
        yield served


@pytest.fixture(scope="module")
def unguarded(place, tmp_path_factory):
    with stock(make_studies(tmp_path_factory.mktemp("studies")), place / "bundle", place / "stock") as served:
        yield served


def files_in(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def requests_of(route, payload):
    """Requests of a route that hold a payload, one for each key whose rule does not let it through."""
    (method, path), rule = route, RULES[route]
    files = dict.fromkeys(rule.files, ("scan.nii", b"x"))

    def made(part, query=None, form=None, body=None):
        where = "/".join(part.get(step, "plain" if step[:1] == "{" else step) for step in path.split("/"))
        asked = {key: NEEDED[key] for key in rule.query if key in NEEDED} | (query or {})
        fields = {key: NEEDED[key] for key in rule.form if key in NEEDED} | (form or {})
        arguments = {"data": fields, "files": files} if fields or files else {}
        if body:
            arguments = {"data": json.dumps(body), "headers": {"content-type": "application/json"}}
        return method, where, {"params": asked, **arguments}

    model = {"{model}": NAME, "{strategy}": "first", "{session_id}": "0"}
    text = payload if isinstance(payload, str) else json.dumps(payload)
    for key, value in rule.path.items():
        if not allowed(value, text) and text.strip("."):  # dots alone are resolved before they are sent
            yield key, made({**model, f"{{{key}}}": quote(text, safe="")})
    for key, value in rule.query.items():
        if not allowed(value, text):
            yield key, made(model, {key: text})
    for key, value in rule.form.items():
        for inner, kind in value.keys.items() if isinstance(value, Json) else ():
            if not allowed(kind, payload):
                yield inner, made(model, form={key: json.dumps({inner: payload})})
        if not allowed(value, text):
            yield key, made(model, form={key: text})
    for key, kind in rule.body.keys.items() if rule.body else ():
        if not allowed(kind, payload):
            yield key, made(model, body={key: payload})
    for key in rule.files:
        for name in ("$x.nii", "a#b.nii", "..", "canary.pkl" if rule.files[key].suffixes else "canary.mhd"):
            method, where, arguments = made(model)
            yield key, (method, where, {**arguments, "files": {key: (name, b"x")}})
        yield key, (method, where, {**arguments, "files": {"unknown": ("scan.nii", b"x")}})
    yield "unknown", made(model, {"unknown": text})
    if rule.form or rule.files:
        yield "unknown", made(model, form={"unknown": text})
    for inner in ("params",) if "params" in rule.form else ():
        yield "unknown", made(model, form={inner: json.dumps({"unknown": payload})})
    if rule.body:
        yield ("unknown", made(model, body={"unknown": payload}))


@pytest.mark.parametrize("route", RULES, ids=" ".join)
def test_no_route_takes_a_payload_in_any_key(server, place, tmp_path, route):
    if route[1].startswith("/auth/"):
        pytest.skip("served with authentication alone: test_label_layers.py")
    before, canary, tried = files_in(place / "studies"), tmp_path / "canary", 0
    for payload in payloads(canary):
        for _, (method, path, arguments) in requests_of(route, payload):
            assert_refused(server.ask(method, path, **arguments))
            tried += 1
    assert tried and not canary.exists() and not list(tmp_path.iterdir())
    assert files_in(place / "studies") == before


ATTACKS = pytest.mark.parametrize("name", attacks(Path("canary.nii"), b""))


@ATTACKS
def test_no_request_makes_a_file_outside(server, place, tmp_path, name):
    answer, made = attack(server, name, tmp_path, phantom_bytes(place / "studies"))
    assert_refused(answer)
    assert not made


@ATTACKS
def test_without_the_guard_each_of_them_does(unguarded, place, tmp_path, name):
    """MONAI Label's own command: that the file is made shows that the test before can fail."""
    assert attack(unguarded, name, tmp_path, phantom_bytes(place / "studies"))[1]


def outside_images(place):
    """Requests for an image that is not in the studies, by name: what is asked for, and what is sent."""
    secret, voxels = place / "outside" / "secret.nii", place / "outside" / "voxels.raw"
    ask = f"/infer/{NAME}?output=image"
    return {
        "an absolute path": (f"{ask}&image={secret}", {}),
        "a relative path": (f"{ask}&image=../outside/secret.nii", {}),
        "a path from the server's folder": (f"{ask}&image={quote(os.path.relpath(secret, ROOT))}", {}),
        "an image in the options": (f"{ask}&image=plain", {"data": {"params": json.dumps({"image": str(secret)})}}),
        "a header of voxels elsewhere": (ask, {"files": {"file": ("a.nrrd", DETACHED.format(where=voxels))}}),
        "a MetaImage of voxels elsewhere": (ask, {"files": {"file": ("a.mha", ELSEWHERE.format(where=voxels))}}),
    }


@pytest.mark.parametrize("name", outside_images(Path("/")))
def test_no_request_reads_an_image_outside(server, place, name):
    path, arguments = outside_images(place)[name]
    assert_refused(server.ask("POST", path, **arguments), 400, 403)


@pytest.mark.parametrize("name", ["an absolute path", "an image in the options"])
def test_without_the_guard_it_is_translated(unguarded, place, name):
    path, arguments = outside_images(place)[name]
    answer = unguarded.ask("POST", path, **arguments)
    assert answer.status_code == 200 and len(answer.content) > 1000


def test_without_the_guard_the_bundle_refuses_headers_of_voxels_elsewhere(unguarded, place):
    """The bundle reads no such header, whoever calls it: MONAI Label's own command fails on it and answers no image."""
    path, arguments = outside_images(place)["a header of voxels elsewhere"]
    answer = unguarded.ask("POST", path, **arguments)
    assert answer.status_code == 500 and len(answer.content) < 1000


@pytest.fixture
def linked(place):
    """An image of the studies that is a link to outside; gone afterwards."""
    link = place / "studies" / "linked.nii"
    link.symlink_to(place / "outside" / "secret.nii")
    yield "linked"
    link.unlink(missing_ok=True)


def test_a_link_to_outside_is_neither_read_written_nor_removed(server, place, linked):
    secret = place / "outside" / "secret.nii"
    told, patience = secret.read_bytes(), time.monotonic() + 60
    while linked not in server.ask("GET", "/datastore/?output=all").text:
        assert time.monotonic() < patience
        time.sleep(0.2)
    requests = [
        ("POST", f"/infer/{NAME}?output=image&image={linked}", {}),
        ("GET", f"/datastore/image?image={linked}", {}),
        ("DELETE", f"/datastore/image?id={linked}", {}),
        ("POST", f"/batch/infer/{NAME}", {"json": {"device": "cpu", "multi_gpu": False}}),
        ("POST", f"/train/{NAME}", {"json": {"scale": 3, "run_id": "run", "max_minutes": 0, "update_weights": False}}),
        ("PUT", f"/datastore/image?image={linked}", {"files": {"file": ("a.nii", b"x")}}),
    ]
    for method, path, arguments in requests:
        answer = server.ask(method, path, **arguments)
        assert_refused(answer, 403)
        assert "outside the studies" in answer.json()["detail"], path
    assert secret.read_bytes() == told


def test_every_route_of_monai_label_is_served_by_a_rule_or_off(server):
    """Also one of a later version: what has no rule is not served."""
    offered = server.ask("GET", "/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in offered.items() for method in methods}
    assert served and served <= set(RULES)
    for method, path, why in OFF:
        answer = server.ask(method or "GET", path if path.count("/") > 2 else path.rstrip("/") + "/x")
        assert_refused(answer, 404, 405)
        assert answer.json()["detail"].endswith(f"is not served here: {why}."), path
    for path in ("/static/favicon.ico", "/static/../../../etc/passwd", "/ohif/..%2f..%2findex.html", "/nothing"):
        assert_refused(server.ask("GET", path), 404)


def slicer_client(address, folder):
    """The client in Slicer's own MONAI Label module, as MONAI Label ships it."""
    path = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib" / "client.py"
    spec = importlib.util.spec_from_file_location("slicer_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MONAILabelClient(address, str(folder), "user-xyz")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client parses forms with a module that Python drops
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_slicer_s_own_module_sends_is_served(server, place, tmp_path):
    client = slicer_client(server.address, tmp_path)
    config = client.info()["models"][NAME]["config"]
    offered = {key: value[0] if isinstance(value, list) else value for key, value in config.items()}
    params = {**offered, "result_extension": ".nrrd", "result_dtype": "uint8"}
    file, told = client.infer(NAME, "plain", params)
    assert Path(file).stat().st_size > 10000 and told["label_names"] == {}
    session = client.create_session(str(place / "studies" / "oblique.nrrd"))["session_id"]
    again, _ = client.infer(NAME, "plain", params, session_id=session)
    assert Path(again).stat().st_size > 10000
    assert client.get_session(session)["name"] == client.remove_session(session)["name"] == session
    assert client.next_sample("first", {})["id"] == "meta"
    labelled = tmp_path / "label.nrrd"
    labelled.write_bytes((place / "studies" / "oblique.nrrd").read_bytes())
    told = client.save_label("oblique", str(labelled), params={"label_info": [{"name": "lung", "idx": 1}]})
    assert told["label"] == "oblique"
    assert client.upload_image(str(labelled), "new")["image"] == "new"
    assert Path(client.download_label("oblique", "final")).read_bytes() == labelled.read_bytes()
    assert not client.train_status(check_if_running=True)
    for path in ("/datastore/image?id=new", "/datastore/label?id=oblique&tag=final"):
        assert server.ask("DELETE", path).status_code == 200


def test_other_legal_requests_are_answered(server, place):
    for path in ("/", "/docs", "/info/", f"/model/info/{NAME}", "/logs/?lines=5&text=true", "/datastore/?output=train"):
        assert server.ask("GET", path).status_code == 200, path
    assert server.ask("GET", "/datastore/image?image=plain").content == phantom_bytes(place / "studies")
    assert server.ask("HEAD", "/datastore/image?image=plain").status_code == 200
    batch = {"device": "cpu", "multi_gpu": False, "max_batch_size": 1, "max_workers": 1, "label_tag": "translated"}
    assert server.ask("POST", f"/batch/infer/{NAME}?run_sync=true", json=batch).status_code == 200
    assert server.ask("GET", "/datastore/label?label=meta&tag=translated").status_code == 200
    assert server.ask("DELETE", "/datastore/label?id=meta&tag=translated").status_code == 200
    answer = server.ask("POST", f"/infer/{NAME}?output=image&image={place / 'studies' / 'plain.nii'}")
    assert answer.status_code == 200, answer.text
    saved = {"data": {"params": json.dumps({"save_label": True, "label_tag": "kept"})}}
    assert server.ask("POST", f"/infer/{NAME}?output=json&image=plain", **saved).status_code == 200
    assert server.ask("HEAD", "/datastore/label?image=plain&tag=kept").status_code == 200
