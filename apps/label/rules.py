"""Allow-lists of requests: the served routes, and the keys and values that a request to each may have.

Routes that are not listed are not served, and keys that are not listed are refused.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apps.label.uploads import Upload
from apps.label.values import PLAIN, Choice, Credential, Flag, Json, Number, Path, Rows, Size, Text, Value, Whole

NAME = Text(PLAIN, "plain name; take letters, digits, spaces, . _ - alone")
OPTIONAL_NAME = Text(NAME.pattern, NAME.like, empty=True)
TAG = Text(r"[A-Za-z0-9][A-Za-z0-9_-]*", "tag; take letters, digits, _ - alone", longest=64)
SESSION = Text(r"[A-Za-z0-9][A-Za-z0-9-]*", "session; take the session_id that PUT /session/ gave", longest=64)
FLAG = Flag()
DTYPES = ("", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
LEVELS = Choice(("debug", "info", "warning", "error", "critical"), any_case=True)
GPUS = Text(r"all|[0-9]{1,2}(,[0-9]{1,2}){0,31}", "list of GPUs; write all, or numbers such as 0,1", empty=True)
WEIGHTS = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.pt", "file of the bundle's models, such as model.pt", longest=100)
#: The bundle's catalogue of kernels, read as data, because MONAI Label must be the first to import `bundle`.
CATALOGUE = pathlib.Path(__file__).parents[2] / "bundle" / "scanner" / "kernels.json"
#: Names of its kernels; files are not allowed.
KERNELS = Choice(("", *(kernel["name"] for kernel in json.loads(CATALOGUE.read_text(encoding="utf-8"))["kernels"])))
#: Keys that stock clients add to every request.
CLIENT: dict[str, Value] = {"client_id": OPTIONAL_NAME}
#: Keys that may describe a stored image or label; Slicer's module sends the names of its segments.
STORED: dict[str, Value] = {**CLIENT, "label_info": Rows({"name": NAME, "idx": Whole(0, 10**6)})}
STATUS: dict[str, Value] = {"all": FLAG, "check_if_running": FLAG}


@dataclass(frozen=True)
class Rule:
    """Allowed contents of a route's requests; by default empty."""

    path: Mapping[str, Value] = field(default_factory=dict)
    query: Mapping[str, Value] = field(default_factory=dict)
    form: Mapping[str, Value] = field(default_factory=dict)
    files: Mapping[str, Upload] = field(default_factory=dict)
    body: Json | None = None


def infer_keys(devices: Sequence[str]) -> dict[str, Value]:
    """Return the keys of ``params`` in ``/infer``: the bundle's options, then MONAI Label's.

    Args:
        devices: names of devices that the server offers, besides ``cpu`` and ``cuda:0``.
    """
    return {
        "conditioning": Choice(("sketch", "anchored", "image", "none")),
        "memory_budget": Size(),
        "seed": Whole(0, 2**63 - 1),
        "source_kernel": KERNELS,
        "target_kernel": KERNELS,
        **CLIENT,
        "device": device(devices),
        "label_tag": TAG,
        "logging": LEVELS,
        "model_filename": WEIGHTS,
        "result_compress": FLAG,
        "result_dtype": Choice(DTYPES),
        "result_extension": Choice(("", ".nii", ".nii.gz", ".nrrd", ".mha")),
        "save_label": FLAG,
        "timeout": Number(1, 86400),
    }


def train_keys(devices: Sequence[str]) -> dict[str, Value]:
    """Return the keys in the body of ``/train``: the bundle's options, then MONAI Label's."""
    return {
        "scale": Whole(0, 16),
        "max_minutes": Number(0, 10**6),
        "update_weights": FLAG,
        "run_id": Choice(("run", "training", "")),
        **CLIENT,
        "dataset": Choice(("Dataset", "CacheDataset", "PersistentDataset", "SmartCacheDataset")),
        "device": device(devices),
        "force_multi_gpu": FLAG,
        "gpus": GPUS,
        "max_epochs": Whole(1, 10**6),
        "model_filename": WEIGHTS,
        "multi_gpu": FLAG,
        "name": OPTIONAL_NAME,
        "pretrained": FLAG,
        "tracking": Choice(("", "none", "mlflow"), any_case=True),
        "tracking_experiment_name": OPTIONAL_NAME,
        "tracking_run_name": OPTIONAL_NAME,
        "tracking_uri": Choice(("",)),
        "train_batch_size": Whole(1, 1024),
        "val_batch_size": Whole(1, 1024),
        "val_split": Number(-1, 0.99),
        "validation_split": Number(-1, 0.99),
    }


def device(names: Sequence[str]) -> Choice:
    """Return the allowed devices: those that the server offers, and PyTorch's names."""
    return Choice(tuple(dict.fromkeys((*names, "cpu", "cuda", *(f"cuda:{index}" for index in range(16))))))


def make_rules(model: str, devices: Sequence[str] = ()) -> dict[tuple[str, str], Rule]:
    """Return the rule of each served route, by method and path.

    Args:
        model: the bundle's name on the server.
        devices: names of devices that the server offers.
    """
    name = {"model": Choice((model,))}
    infer = infer_keys(devices)
    batch = {**infer, "gpus": GPUS, "max_batch_size": Whole(0, 10**6), "max_workers": Whole(0, 256), "multi_gpu": FLAG}
    train = Json(train_keys(devices))
    running = {"run_sync": FLAG, "enqueue": FLAG}
    tagged = {"id": NAME, "tag": TAG}
    add_image = Rule(query={"image": OPTIONAL_NAME}, form={"params": Json(CLIENT)}, files={"file": Upload()})
    uncompress = Flag(only=False, why="no archive is unpacked; send its files one by one.")
    return {
        ("GET", "/auth/"): Rule(),
        ("GET", "/auth/token/valid"): Rule(),
        ("POST", "/auth/token"): Rule(
            form={
                "username": Credential(r"\w[\w .+-]*(@\w[\w.-]*)?", longest=200),
                "password": Credential(),
                "grant_type": Choice(("password",)),
                "scope": OPTIONAL_NAME,
                "client_id": OPTIONAL_NAME,
                "client_secret": Credential(),
            }
        ),
        ("GET", "/info/"): Rule(),
        ("GET", "/model/{model}"): Rule(path=name),
        ("GET", "/model/info/{model}"): Rule(path=name),
        ("POST", "/infer/{model}"): Rule(
            path=name,
            query={
                "image": Path(),
                "session_id": Text(SESSION.pattern, SESSION.like, empty=True, longest=64),
                "output": Choice(("image", "json", "all")),
            },
            form={"params": Json(infer)},
            files={"file": Upload()},
        ),
        ("GET", "/batch/infer"): Rule(query=STATUS),
        ("DELETE", "/batch/infer"): Rule(),
        ("POST", "/batch/infer/{model}"): Rule(
            path=name, query={"images": Choice(("all", "labeled", "unlabeled")), "run_sync": FLAG}, body=Json(batch)
        ),
        ("GET", "/train/"): Rule(query=STATUS),
        ("DELETE", "/train/"): Rule(),
        ("POST", "/train/"): Rule(query={"run_sync": FLAG}, body=train),
        ("POST", "/train/{model}"): Rule(path=name, query=running, body=train),
        ("POST", "/activelearning/{strategy}"): Rule(
            path={"strategy": Choice(("first", "random"))}, body=Json({**CLIENT, "label_tag": TAG})
        ),
        ("GET", "/scoring/"): Rule(query=STATUS),
        ("DELETE", "/scoring/"): Rule(),
        ("POST", "/scoring/"): Rule(query={"run_sync": FLAG}, body=Json(CLIENT)),
        ("GET", "/datastore/"): Rule(query={"output": Choice(("train", "stats", "all"))}),
        ("PUT", "/datastore/"): add_image,
        ("PUT", "/datastore/image"): add_image,
        ("DELETE", "/datastore/"): Rule(query={"id": NAME}),
        ("DELETE", "/datastore/image"): Rule(query={"id": NAME}),
        ("HEAD", "/datastore/image"): Rule(
            query={"image": NAME, "check_sum": Text(r"([A-Za-z0-9]{1,10}:)?[0-9a-fA-F]{8,128}", "checksum")}
        ),
        ("GET", "/datastore/image"): Rule(query={"image": NAME}),
        ("GET", "/datastore/image/info"): Rule(query={"image": NAME}),
        ("PUT", "/datastore/label"): Rule(
            query={"image": NAME, "tag": Text(TAG.pattern, TAG.like, empty=True, longest=64)},
            form={"params": Json(STORED)},
            files={"label": Upload()},
        ),
        ("DELETE", "/datastore/label"): Rule(query=tagged),
        ("HEAD", "/datastore/label"): Rule(query={"image": NAME, "tag": TAG}),
        ("GET", "/datastore/label"): Rule(query={"label": NAME, "tag": TAG}),
        ("GET", "/datastore/label/info"): Rule(query={"label": NAME, "tag": TAG}),
        ("GET", "/datastore/dataset"): Rule(query={"limit_cases": Whole(0, 10**6)}),
        ("GET", "/logs/"): Rule(
            query={"lines": Whole(0, 10**6), "html": FLAG, "text": FLAG, "refresh": Whole(0, 86400)}
        ),
        ("GET", "/logs/gpu"): Rule(),
        ("GET", "/session/{session_id}"): Rule(path={"session_id": SESSION}, query={"update_ts": FLAG, "image": FLAG}),
        ("PUT", "/session/"): Rule(
            query={"uncompress": uncompress, "expiry": Whole(0, 10**7)}, form=CLIENT, files={"files": Upload(())}
        ),
        ("DELETE", "/session/{session_id}"): Rule(path={"session_id": SESSION}),
        ("GET", "/"): Rule(),
        ("GET", "/favicon.ico"): Rule(),
    }


#: Disabled routes of MONAI Label: method (empty for any), start of the path, and the reason.
OFF = (
    ("", "/infer/wsi", "there are no whole slides here"),
    ("", "/proxy", "it serves no DICOMweb server"),
    ("", "/ohif", "OHIF needs a DICOMweb server; use the module for 3D Slicer"),
    ("POST", "/scoring/", "the bundle has no scoring method"),
    ("PUT", "/model/", "weights are changed by training with update_weights, or on the server itself"),
    ("DELETE", "/model/", "weights are changed by training with update_weights, or on the server itself"),
    ("PUT", "/datastore/image/info", "notes on stored images are not kept here"),
    ("PUT", "/datastore/label/info", "notes on stored labels are not kept here"),
    ("PUT", "/datastore/updatelabelinfo", "notes on stored labels are not kept here"),
    ("POST", "/reload", "restart the server"),
    ("", "/static", "its pages are not served"),
)


def why_off(method: str, path: str) -> str:
    """Return why a route of MONAI Label is disabled; an empty string if it is not one of those."""
    return next((why for of, start, why in OFF if of in ("", method) and path.startswith(start)), "")
