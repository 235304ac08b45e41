"""What a request may not hold: values that a config evaluates, follows or builds, paths, and requests that use them."""

import io
import json
import tarfile

import numpy as np

from apps.label.folder import NAME

#: A NRRD header of this shape, whose voxels lie elsewhere.
DETACHED = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 48 40 16
space directions: (3,0,0) (0,3,0) (0,0,6)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (0,0,0)
data file: {where}

"""
#: The same as MetaImage.
ELSEWHERE = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
DimSize = 48 40 16
ElementSpacing = 3 3 6
ElementType = MET_SHORT
ElementDataFile = {where}
"""


def write_voxels(path):
    """The voxels that these headers point to."""
    path.write_bytes(np.random.default_rng(0).integers(-1000, 400, 48 * 40 * 16, np.int16).tobytes())
    return path


def touch(where):
    """An expression that makes a file."""
    return f"$__import__('pathlib').Path('{where}').touch()"


def build(where):
    """A mapping that a config builds an object from, which makes a file."""
    return {"_target_": "builtins.open", "file": str(where), "mode": "w"}


def payloads(where):
    """Values that no key takes; each that can make a file makes this one."""
    return [
        *(touch(where), f" {touch(where)}", f"@{where}", "@displayable_configs#seed", f"%{where}::run", "%run"),
        *("a#b", "a::b", "a@b#c", "a\nb", "a\x00b", "x" * 5000, f"../{where.name}", "..", str(where), "a/../../b"),
        *("\\\\host\\share", build(where), {"a": 1}, [touch(where)], [1], [], {}, None),
        *(float("nan"), float("inf"), 1e308, 10**30, -1, -(10**30)),
    ]


def allowed(value, payload):
    """Whether a key's own rule lets a payload through: a path or a negative number may be right for it."""
    try:
        value.check("value", payload)
    except ValueError:
        return False
    return True


def archive(member):
    """A tar file, one file of which would be unpacked elsewhere."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo(member)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    return made.getvalue()


def translate(params, **query):
    """A request for a translation, with options as the form's text."""
    path = f"/infer/{NAME}?output=image&image=plain" + "".join(f"&{key}={entry}" for key, entry in query.items())
    return "POST", path, {"data": {"params": json.dumps(params)}}


def sent(path, field, name, content, **form):
    """A request that sends a file."""
    return "PUT", path, {"files": {field: (name, content)}, "data": form}


def attacks(where, image):
    """Requests that make the file ``where`` on a server that does not check them, by name.

    Args:
        where: the file; a config beside it, with the suffix .json, makes it at its key ``run``.
        image: bytes of an image, as .nii.
    """
    macro = where.with_suffix(".json")
    up = "../" * 12 + str(where.parent).lstrip("/")
    batch = {"device": "cpu", "multi_gpu": False, "max_batch_size": 1, "max_workers": 1}
    train = {"scale": 3, "max_minutes": 0, "update_weights": False, "run_id": "run", "val_split": 0, "multi_gpu": False}
    return {
        "an expression as memory_budget": translate({"memory_budget": touch(where)}),
        "an expression as seed": translate({"seed": touch(where)}),
        "a mapping to build": translate({"memory_budget": build(where)}),
        "a list with an expression": translate({"memory_budget": [touch(where)]}),
        "a macro of another file": translate({"memory_budget": f"%{macro}::run"}),
        "an expression for all images": (
            *("POST", f"/batch/infer/{NAME}?run_sync=true"),
            {"json": {**batch, "seed": touch(where)}},
        ),
        "an expression in training": (
            *("POST", f"/train/{NAME}?run_sync=true"),
            {"json": {**train, "scale": touch(where)}},
        ),
        "an image beside the studies": sent(f"/datastore/image?image={up}/{where.stem}", "file", "scan.nii", image),
        "a label beside the studies": sent(f"/datastore/label?image=plain&tag={up}", "label", "scan.nii", image),
        "an archive that leaves its folder": sent(
            "/session/?uncompress=true", "files", "scan.tar", archive(f"{up}/{where.name}")
        ),
    }


def attack(server, name, folder, image):
    """Send a request that makes a file in a folder, unless it is refused; the answer, and the files made."""
    where = folder / "canary.nii"
    where.with_suffix(".json").write_text(json.dumps({"run": touch(where)}))
    method, path, arguments = attacks(where, image)[name]
    answer = server.ask(method, path, **arguments)
    return answer, [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".json"]


def assert_refused(answer, *statuses):
    """A 4xx, of one line."""
    assert answer.status_code in (statuses or range(400, 500)), (answer.status_code, answer.text)
    if answer.text and answer.request.method != "HEAD":
        detail = answer.json()["detail"]
        assert not isinstance(detail, str) or ("\n" not in detail and "Traceback" not in detail)
