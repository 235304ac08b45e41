"""Build the container without Docker and try it: ``python -m apps.container``; as root, on Linux, with mmdebstrap.

Its steps run in a Debian. The program then runs as an ordinary user, without a network, in a read-only system: it
writes the phantom, translates it, and refuses what is not an image. Arguments such as ``TORCH_INDEX=`` are those of
``docker build --build-arg``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from apps.container import chroot

#: A user who does not exist in the system.
STRANGER = "4321:4321"


def main() -> None:
    """Build the container and try it."""
    parser = argparse.ArgumentParser(prog="python -m apps.container", description=__doc__)
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="arguments of the build")
    parser.add_argument("--folder", type=Path, help="of the systems; kept (default: a temporary one)")
    parser.add_argument("--suite", default="bookworm", help="of Debian")
    parser.add_argument("--mirror", default="", help="of Debian's packages")
    given = parser.parse_args()
    arguments = {name: value for name, _, value in (word.partition("=") for word in given.arguments)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        root = chroot.build(given.folder or Path(temporary), arguments, given.suite, given.mirror)
        for user in ("", STRANGER):
            attempt(root, user)
    print("the container was built, and works without network, without root and without writing to its own files")


def attempt(root: Path, user: str) -> None:
    """Translate the phantom as a user."""
    probe = "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=5)"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        owner = (user or chroot.read_dockerfile(chroot.DOCKERFILE)[-1].all("USER")[-1].text).split(":")
        os.chown(data, int(owner[0]), int(owner[1]))
        chroot.run(root, ["phantom", "phantom.nii.gz"], data, user)
        chroot.run(root, ["phantom.nii.gz", "results"], data, user)
        results = [path.name for path in (data / "results").glob("*.nii.gz")]
        if len(results) != 1:
            raise SystemExit(f"error: {results} were written, not one result.")
        print(f"user {user or 'of the image'}: {results[0]}", flush=True)
        for program in (["python", "-c", probe], ["touch", "/opt/x"]):
            if not refused(root, program, data, user):
                raise SystemExit(f"error: {program} works, which it must not.")
        (data / "empty.nii").touch()
        if not refused(root, ["ct-kernel-translation", "empty.nii", "results"], data, user):
            raise SystemExit("error: an empty image was not refused.")


def refused(root: Path, program: list[str], data: Path, user: str) -> bool:
    """Return whether a program fails in the container."""
    try:
        chroot.run(root, program[1:], data, user, program[:1])
    except subprocess.CalledProcessError:
        return True
    return False


if __name__ == "__main__":
    main()
