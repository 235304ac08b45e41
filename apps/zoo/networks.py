"""The networks: they take and give what the metadata say, and can be exported. All of it with the submission's code."""

from __future__ import annotations

from apps.zoo.submission import Submission

CONFIGS = ("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json", "--bundle_root", ".")


def data_shape(submission: Submission) -> str:
    """MONAI's `verify_net_in_out` passes: channels and type of what the network gives are those of the metadata.

    Raises:
        RefusedError: If it does not.
    """
    submission.run("monai.bundle", "verify_net_in_out", "--net_id", "network_def", *CONFIGS)
    shape = submission.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    return " x ".join(str(size) for size in shape)


def torchscript(submission: Submission) -> str:
    """MONAI's `ckpt_export` gives a TorchScript file that, loaded again, computes what the network does.

    Raises:
        RefusedError: If it is not exported, or computes something else.
    """
    out = submission.zoo / "model.ts"
    submission.run(
        *("monai.bundle", "ckpt_export", "--net_id", "network_def", "--filepath", str(out)),
        *("--ckpt_file", "models/model.pt", *CONFIGS),
    )
    return submission.run("apps.zoo.exports", "torchscript", str(out), path=submission.house).splitlines()[-1]


def onnx(submission: Submission) -> str:
    """The network of every scale can be exported to ONNX with free sizes, and the runtime computes what it does.

    Raises:
        RefusedError: If one cannot, or computes something else.
    """
    out = str(submission.zoo)
    return submission.run("apps.zoo.exports", "onnx", out, path=submission.house).splitlines()[-1]
