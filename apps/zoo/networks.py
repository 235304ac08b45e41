"""Check the networks, with the submission's code: inputs and outputs match the metadata, and exports work."""

from __future__ import annotations

from apps.zoo.submission import Submission

CONFIGS = ("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json", "--bundle_root", ".")


def data_shape(submission: Submission) -> str:
    """Check by MONAI's `verify_net_in_out` that channels and type of the network's output match the metadata.

    Raises:
        CheckFailed: If they are not.
    """
    submission.run("monai.bundle", "verify_net_in_out", "--net_id", "network_def", *CONFIGS)
    shape = submission.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    return " x ".join(str(size) for size in shape)


def torchscript(submission: Submission) -> str:
    """Check that MONAI's `ckpt_export` writes a TorchScript file that computes the same as the network.

    Raises:
        CheckFailed: If the export fails, or its results differ.
    """
    out = submission.zoo / "model.ts"
    submission.run(
        *("monai.bundle", "ckpt_export", "--net_id", "network_def", "--filepath", str(out)),
        *("--ckpt_file", "models/model.pt", *CONFIGS),
    )
    return submission.run("apps.zoo.exports", "torchscript", str(out), path=submission.root).splitlines()[-1]


def onnx(submission: Submission) -> str:
    """Check that the network of each scale exports to ONNX with dynamic sizes, and computes the same there.

    Raises:
        CheckFailed: If an export fails, or its results differ.
    """
    out = str(submission.zoo)
    return submission.run("apps.zoo.exports", "onnx", out, path=submission.root).splitlines()[-1]
