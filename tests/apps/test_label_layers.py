"""What stands behind the closed lists of MONAI Label's requests, if one should have a hole; and who is let in."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from apps.label.folder import NAME
from apps.label.rules import make_rules
from tests.label_payloads import allowed, assert_refused, attack, attacks, payloads
from tests.label_server import ROOT, copy_bundle, guarded, make_studies, needs_label, stock

pytestmark = needs_label


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return make_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return copy_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def unlisted(studies, bundle, tmp_path_factory):
    options = ("--uvicorn_app", "tests.label_unlisted:app")
    with stock(studies, bundle, tmp_path_factory.mktemp("label"), *options, path=[ROOT]) as served:
        yield served


@pytest.mark.parametrize("name", [name for name in attacks(Path("canary.nii"), b"") if "archive" not in name])
def test_the_last_check_holds_without_the_closed_lists(unlisted, studies, tmp_path, name):
    """No value that is evaluated reaches a config, and no file outside the studies is written."""
    answer, made = attack(unlisted, name, tmp_path, (studies / "plain.nii").read_bytes())
    assert_refused(answer, 400, 403)
    assert not made


def test_the_closed_lists_are_what_refuses_an_archive(unlisted, studies, tmp_path):
    """Without them it is unpacked: the server that is tested above is without them."""
    name = "an archive that leaves its folder"
    assert attack(unlisted, name, tmp_path, (studies / "plain.nii").read_bytes())[1]


class Realm(BaseHTTPRequestHandler):
    """What MONAI Label asks of a Keycloak realm: its key, and a token for one user."""

    def do_GET(self):
        address = f"http://127.0.0.1:{self.server.server_port}"
        self.send({"public_key": self.server.public, "token_endpoint": f"{address}/token"})

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        known = "username=me" in sent and "password=%24x%40" in sent
        self.send({"access_token": self.server.token, "token_type": "bearer"}, 200 if known else 401)

    def send(self, told, status=200):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def realm():
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = {"preferred_username": "me", "email": "", "name": "", "exp": time.time() + 3600}
    with ThreadingHTTPServer(("127.0.0.1", 0), Realm) as server:
        server.public = base64.b64encode(public).decode()
        server.token = jwt.encode({**claims, "realm_access": {"roles": ["monailabel-user"]}}, key, algorithm="RS256")
        server.strange = jwt.encode(claims, "x" * 64, algorithm="HS256")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def closed(studies, bundle, realm, tmp_path_factory):
    """The server with MONAI Label's authentication on."""
    address = f"http://127.0.0.1:{realm.server_port}"
    environment = {"MONAI_LABEL_AUTH_ENABLE": "true", "MONAI_LABEL_AUTH_REALM_URI": address}
    with guarded(studies, bundle, tmp_path_factory.mktemp("closed"), **environment) as served:
        yield served


def test_with_authentication_nobody_gets_in_without_a_token_of_the_realm(closed, realm):
    protected = [
        ("GET", "/info/"),
        ("GET", "/datastore/"),
        ("GET", "/datastore/image?image=plain"),
        ("GET", "/logs/"),
        ("POST", f"/infer/{NAME}?image=plain"),
        ("POST", f"/train/{NAME}"),
        ("DELETE", "/datastore/image?id=plain"),
    ]
    for method, path in protected:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {realm.strange}"}):
            assert_refused(closed.ask(method, path, headers=headers), 401)


def test_with_authentication_a_user_logs_in_and_has_his_own_rights(closed):
    assert closed.ask("GET", "/auth/").json()["enabled"]
    login = {"username": "me", "password": "$x@", "grant_type": "password"}
    token = closed.ask("POST", "/auth/token", data=login).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert closed.ask("GET", "/auth/token/valid", headers=headers).json()["username"] == "me"
    assert NAME in closed.ask("GET", "/info/", headers=headers).json()["models"]
    answer = closed.ask("POST", f"/infer/{NAME}?image=plain&output=image", headers=headers)
    assert answer.status_code == 200 and len(answer.content) > 1000
    assert_refused(closed.ask("POST", f"/train/{NAME}", headers=headers), 403)  # an administrator's


def test_a_login_takes_no_payload(closed, tmp_path):
    form, canary = make_rules(NAME)["POST", "/auth/token"].form, tmp_path / "canary"
    for payload in payloads(canary):
        text = payload if isinstance(payload, str) else json.dumps(payload)
        for key in ("username", "grant_type", "scope", "client_id", "unknown"):
            if key not in form or not allowed(form[key], text):
                login = {"username": "me", "password": "x", "grant_type": "password", key: text}
                assert_refused(closed.ask("POST", "/auth/token", data=login), 400)
        for path in ("/auth/", "/auth/token/valid"):
            assert_refused(closed.ask("GET", path, params={"unknown": text}), 400, 401)
    assert not canary.exists()
