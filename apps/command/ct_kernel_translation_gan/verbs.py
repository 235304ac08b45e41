"""Verbs of the command: what each does, its arguments, and its config and run id."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb that a config runs.

    Args:
        summary: one-line summary.
        names: names of its arguments as shown in the help; those in brackets are optional.
        keys: keys of the config that take the arguments, one each.
        configs: base config and overlays, by name.
        run_id: id that MONAI runs.
        details: further lines of its help.
        without: options in the list of common ones that change nothing here.
    """

    summary: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    configs: tuple[str, ...]
    run_id: str
    details: str = ""
    without: tuple[str, ...] = ()


def fits(names: tuple[str, ...], count: int) -> bool:
    """Return whether a verb accepts this number of arguments; names in brackets are optional."""
    return sum(not name.startswith("[") for name in names) <= count <= len(names)


#: Verb that is used if none is given.
DEFAULT = "translate"
VERBS = {
    "translate": Verb(
        "translate images; the default, so the word may be left out",
        ("SOURCE", "RESULT"),
        ("dataset_dir", "output_dir"),
        ("inference",),
        "inference",
        "SOURCE is an image (NIfTI, MHA, NRRD, MGZ, OME-Zarr, PNG, TIFF, DICOM), a folder with a DICOM series, or a\n"
        "folder of both. RESULT is a folder, made where missing; the results in it are called SOURCE_translated.",
    ),
    "plan": Verb(
        "say what translating would take: seconds, memory, disk; and what would be refused",
        ("SOURCE", "RESULT"),
        ("dataset_dir", "output_dir"),
        ("inference", "plan"),
        "planning",
        "Headers alone are read, nothing is written into RESULT; --plan_file plan.json writes it as JSON. The status\n"
        "is 1 if anything would be refused.",
    ),
    "check": Verb(
        "say which images would be refused, and what is to be warned of; translates nothing",
        ("SOURCE",),
        ("dataset_dir",),
        ("inference", "check"),
        "inspecting",
        "The header of each image and 16 of its slices are read. The exit status is 1 if one would be refused.",
    ),
    "generate": Verb(
        "make chest X-rays out of noise",
        ("RESULT",),
        ("output_dir",),
        ("inference", "generate"),
        "generating",
        "--num_samples 16 says how many, --image_size 2048 the side in pixels, --seed 0 which.",
        (
            *("experiment", "conditioning", "target_kernel", "source_kernel", "match_kernel", "allow_sharper"),
            *("densitometry", "check_input", "crop_lungs", "recursive", "series_uid", "streaming", "isolated"),
        ),
    ),
    "report": Verb(
        "report on results that are there already: pages to look at, a table of many",
        ("SOURCE", "RESULT", "REPORTS", "[TRUTH]"),
        ("source", "result", "output_dir", "truth"),
        ("report",),
        "reporting",
        "SOURCE and RESULT are an image each, or folders of them. --report html,json says which formats (json, html,\n"
        "pdf, sr). --recursive reads folders of any depth, --series_uid UID takes one of several series in the folder\n"
        "SOURCE. TRUTH is what the results should be, of the same names: with it Bland-Altman plots are drawn.",
    ),
    "calibrate": Verb(
        "measure how one kernel becomes another, on a pair of one patient or phantom",
        ("SHARP", "SOFT", "RESULT"),
        ("source", "target", "output_dir"),
        ("evaluate",),
        "calibrating",
        "RESULT/kernels.json holds both kernels afterwards. Translate further scans of the same scanner with\n"
        "--source_kernel RESULT/kernels.json --target_kernel RESULT/kernels.json\n\n"
        "--calibration#source_name B70f --calibration#target_name B30f name the kernels; by default the DICOM headers\n"
        "do, else they are called sharp and soft. --calibration#source_series_uid UID and target_series_uid take one\n"
        "of several series in a folder. A calibration on another pair is not replaced.",
    ),
}

#: The paper's other experiments: overlays on inference.json that are selected by name.
EXPERIMENTS = {
    "low_dose": "thorax CT: low dose to high dose",
    "brain_t1_t2": "brain MRI without skull: T1 to T2",
    "head_t1_t2": "MRI of a head with skull: T1 to T2",
    "xray_2d": "chest X-rays, generated from their edges",
}

#: Verbs without a config.
OTHERS = {
    "view": ("draw source, result and difference as a picture", ("SOURCE", "RESULT", "PICTURE")),
    "phantom": ("write a small thorax phantom, to try the command with", ("IMAGE",)),
    "qa": ("judge a phantom (CatPhan, ACR) before and after, by pylinac", ("BEFORE", "AFTER", "FOLDER", "[PHANTOM]")),
    "kernels": ("list the catalogue of kernels that source_kernel and target_kernel know by name", ()),
    "experiments": ("list what --experiment knows", ()),
}

#: Options of verbs without a config.
OWN_OPTIONS = {"view": ("series_uid",)}

#: Keys that users commonly set by ``--KEY VALUE``, and their meanings. All other keys of the configs can be set, too.
OPTIONS = {
    "Which network": {
        "experiment": "another translation: " + ", ".join(EXPERIMENTS) + ", or your own overlay, a .json file",
        "weights": "your own trained weights",
        "conditioning": "what the networks see of the source: image, sketch, or, with your own weights, anchored",
    },
    "Kernels of CT": {
        "target_kernel": "a name such as B30f, a calibration (kernels.json), or a scan of the kernel that is wanted",
        "source_kernel": "the same for the source; by default its DICOM header's, else it is found in the image",
        "match_kernel": "find and undo the scan's kernel before the networks (True for CT)",
        "allow_sharper": "allow a target that is sharper than the source",
    },
    "What is done": {
        "densitometry": "measure the lungs before and after: LAA-950, Perc15, mean density, volume",
        "report": "write a page about each result: html, pdf, json, sr (DICOM), or several: html,json",
        "check_input": "refuse what is not a CT in HU (refuse), only warn, or off",
        "crop_lungs": "translate only the box around the lungs",
        "recursive": "go down into folders of any depth",
        "series_uid": "the Series Instance UID to take, if a DICOM folder holds several series",
    },
    "Results": {
        "output_ext": "their format, such as .nii.gz, .mha or .nrrd; by default the source's",
        "output_dtype": "their voxel type; int16 by default",
        "output_postfix": "what their names get; translated by default",
        "overwrite": "replace own results of the same image (own), or whatever lies there (all)",
        "skip_existing": "leave out images whose result is there already",
        "provenance": "write beside each result how it was made (True)",
    },
    "Machine": {
        "device": "cpu, cuda:0 or mps; by default a GPU if there is one",
        "memory_budget": "device memory for tiles, such as 2GiB",
        "tile_size": "voxels along each side of a tile; by default as the memory allows",
        "streaming": "keep the image on disk; by default if it is large",
        "amp": "compute in bfloat16; by default where the processor supports it",
        "isolated": "open files in a process of their own with so much memory, such as 4GiB; for files of strangers",
        "seed": "of the noise; 0 by default",
    },
}
