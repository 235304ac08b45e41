"""Fuzz the image readers: damage small images of every format, then open and read them.

::

    seed --damage--> mutant --in a child process--> read whole, and read slab by slab as streaming does

Mutants are numbered; a number and a seed always give the same mutant::

    python -m benchmarks.fuzz --minutes 10
    python -m benchmarks.fuzz --only 1234      # one mutant again, and its error

Mutants are read in a child process with limits on memory and time, which runs until a mutant ends it.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.forking import forked
from benchmarks.fuzz_mutations import mutate
from benchmarks.fuzz_seeds import SEEDS, write_seeds
from benchmarks.speed import show
from bundle.images import Volume, find_images, open_image, slabs
from bundle.runtime.commands import run_command

ROOT = Path(__file__).parents[1]
#: Limits of processor and wall time in seconds for reading a mutant both ways; the latter allows for a busy machine.
LIMIT, CLOCK = 20, 600
#: Bytes of memory that a child may use beyond those at its start.
MEMORY = 2**30
#: Possible outcomes of a mutant; the first two are correct.
OUTCOMES = ("read", "refused", "disagree", "unnamed", "other", "memory", "crash", "hang")
#: Folders of Python and the system, whose files are opened whatever is read.
SYSTEM = ("/usr/", "/lib", "/proc/", "/sys/", "/dev/", "/etc/ld.so", "/etc/localtime", "/etc/nsswitch", "/etc/passwd")

#: A line of strace for a file that is opened for reading, not created.
OPENED = re.compile(r'open\w*\((?:AT_FDCWD, )?"([^"]+)", (O_RDONLY|O_RDWR)(?!\S*O_CREAT).*= \d+$')


@dataclass(frozen=True)
class Outcome:
    """Outcome of a mutant.

    Args:
        kind: one of `OUTCOMES`.
        told: the error, or how the two ways disagree.
    """

    kind: str
    told: str = ""


def draw(number: int, seed: int, seeds: Path, folder: Path) -> tuple[str, Path, str]:
    """Make a mutant in a folder, which is emptied first.

    Returns:
        The name of the seed, the image's path, and what was done to it.
    """
    random = Random(f"{seed}/{number}")
    name = random.choice(list(SEEDS))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seeds / name, folder / "input")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "scan.raw").write_bytes(bytes(4096))
    return name, folder / "input" / name.replace(" ", "_"), mutate(folder / "input", random)


def told(error: BaseException) -> str:
    """Format an error with its type."""
    return f"{type(error).__name__}: {error}"


def is_refusal(error: BaseException) -> bool:
    """Return whether an error is of a type that explains what is wrong with a file."""
    return isinstance(error, (ValueError, OSError)) and not isinstance(error, UnicodeError)


def is_named(error: BaseException, path: Path) -> bool:
    """Return whether an error names the file, or one in its folder, in one line."""
    names = {path.name, *(file.name for file in path.parent.iterdir())}
    return "\n" not in str(error) and any(name in str(error) for name in names)


def whole(path: Path) -> np.ndarray:
    """Read the voxels of an image at once."""
    volume = Volume(open_image(path).loaded())
    return volume.slab(0, volume.shape[2]).numpy()


def in_slabs(path: Path) -> np.ndarray:
    """Read the voxels of an image slab by slab."""
    volume = Volume(open_image(path))
    return np.concatenate([volume.slab(*slab).numpy() for slab in slabs(volume.shape[2], 2)], -1)


def outcome_of(path: Path) -> Outcome:
    """Read an image both ways, as in a translation."""
    found: list[np.ndarray | Exception] = []
    try:
        find_images(path)
    except Exception as error:  # count any error
        found = [error, error]
    for way in (whole, in_slabs) if not found else ():
        try:
            found.append(way(path))
        except Exception as error:
            found.append(error)
    errors = [error for error in found if isinstance(error, Exception)]
    for each in errors:
        if isinstance(each, MemoryError):
            return Outcome("memory", told(each))
        if not is_refusal(each):
            return Outcome("other", told(each))
        if not is_named(each, path):
            return Outcome("unnamed", told(each))
    if len(errors) == 1:
        said = "read whole" if found[1] is errors[0] else "read slab by slab"
        return Outcome("disagree", f"{said}, and the other way: {told(errors[0])}")
    if errors:
        return Outcome("refused", told(errors[0]))
    one, other = (np.asarray(voxels) for voxels in found)
    if not np.array_equal(one, other):
        return Outcome("disagree", f"{one.shape} and {other.shape} voxels, which differ")
    return Outcome("read", f"{one.shape}, {one.min():g} to {one.max():g}")


class Child:
    """A process that reads mutants until one of them ends it.

    Args:
        noise: file for the output of libraries.
    """

    def __init__(self, noise: Path) -> None:
        context = multiprocessing.get_context("fork")
        self.noise = noise
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, noise), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about NumPy's threads, which are idle
            self.process.start()
        other.close()

    def read(self, path: Path) -> Outcome:
        """Read a mutant; afterwards the child may have ended."""
        try:
            begun, cpu = time.monotonic(), self.cpu()
            self.pipe.send(path)
            while self.cpu() - cpu < LIMIT and time.monotonic() - begun < CLOCK:
                if self.pipe.poll(1):
                    return Outcome(*self.pipe.recv())
        except (EOFError, OSError):
            self.process.join()
            said = self.noise.read_bytes()[-2000:].decode(errors="replace").splitlines()[-1:] or [""]
            kind = "memory" if "bad_alloc" in said[0] else "crash"
            code = self.process.exitcode or 0
            return Outcome(kind, f"{signal.Signals(-code).name if code < 0 else f'exit status {code}'}: {said[0]}")
        self.end()
        return Outcome("hang", f"more than {LIMIT} s")

    def cpu(self) -> float:
        """Return the processor seconds of the child."""
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def lives(self) -> bool:
        """Return whether the child can read another mutant."""
        return self.process.is_alive()

    def end(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.join()


def _serve(pipe: Any, noise: Path) -> None:
    """Read the mutants whose paths are sent, until the other end closes the pipe."""
    handle = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    with Path("/proc/self/status").open() as status:
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        os.ftruncate(handle, 0)
        found = outcome_of(path)
        pipe.send((found.kind, found.told))


def stripped(text: str) -> str:
    """Return an error text without the parts that differ between mutants."""
    return re.sub(r"[-+]?\d[\d.e+-]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*", "_", text))[:140]


def traced(number: int, seed: int, folder: Path) -> list[str]:
    """Return the files outside the inputs that are opened for some mutants but not for the seeds."""
    opened = []
    for count in (0, number):
        log = folder / f"trace_{count}"
        command = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(log), sys.executable, "-m"]
        command += ["benchmarks.fuzz", "--number", str(count), "--seed", str(seed), "--minutes", "600"]
        subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)}
        )
        with log.open(errors="replace") as lines:
            found = [OPENED.search(line) for line in lines]
        opened.append({match[1] for match in found if match})
    outside = sorted(opened[1] - opened[0])
    own = (str(ROOT), sys.prefix, sys.base_prefix, *SYSTEM)
    inner = re.compile(rf"{re.escape(str(folder))}/\w+(/(seeds(/.*)?|noise|mutant(/input(/.*)?)?))?$")
    temporary = re.compile(rf"{re.escape(str(folder))}/tmp\w+(/plain\.dcm)?$")  # created each time by the DICOM decoder
    expected = (inner, temporary)
    return [path for path in outside if not path.startswith(own) and not any(one.match(path) for one in expected)]


def main(
    minutes: float = 10,
    number: int = 10**9,
    seed: int = 0,
    only: int | None = None,
    keep: str = "",
    start: int = 0,
    strace: bool = False,
) -> None:
    """Print the outcomes of mutants, by format.

    Args:
        minutes: minutes after which no further mutant is started.
        number: largest number of mutants.
        seed: seed of the mutants.
        only: number of a single mutant to make again, with its error.
        keep: folder in which mutants that crash, hang, disagree or are not named are kept; empty for none.
        start: number of the first mutant.
        strace: run ``number`` mutants under strace, and list the files outside the inputs that are opened for reading.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz_") as scratch:
        folder = Path(scratch).resolve()
        if strace:
            for opened in (found := traced(number, seed, folder)):
                print(opened)
            print(f"{number} mutants, {len(found)} files opened for reading outside of the inputs")
            return
        forked(write_seeds, folder / "seeds")
        if only is not None:
            name, path, done = draw(only, seed, folder / "seeds", folder / "mutant")
            outcome = Child(folder / "noise").read(path)
            if keep:
                shutil.copytree(path.parent, Path(keep) / f"{only}", dirs_exist_ok=True)
            print(f"{only}: {name}; {done}; {outcome.kind}; {outcome.told}")
            return
        _check_seeds(folder)
        _run(folder, range(start, start + number), seed, minutes, keep)


def _check_seeds(folder: Path) -> None:
    """Check that all seeds can be read before anything is damaged."""
    child = Child(folder / "noise")
    for name in SEEDS:
        found = child.read(folder / "seeds" / name / name.replace(" ", "_"))
        if found.kind != "read":
            raise RuntimeError(f"seed {name!r}: {found.kind}, {found.told}")
    child.end()


def _run(folder: Path, numbers: range, seed: int, minutes: float, keep: str) -> None:
    """Run mutants and print the tables."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    wrong: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    child, begun = Child(folder / "noise"), time.monotonic()
    for number in numbers:
        if time.monotonic() - begun > 60 * minutes:
            break
        name, path, _ = draw(number, seed, folder / "seeds", folder / "mutant")
        outcome = child.read(path)
        counts[name][outcome.kind] += 1
        if outcome.kind not in OUTCOMES[:2]:
            wrong[outcome.kind, name, stripped(outcome.told)].append(number)
            if keep:
                shutil.copytree(path.parent, Path(keep) / f"{outcome.kind}_{number}", dirs_exist_ok=True)
        if not child.lives:
            child = Child(folder / "noise")
    child.end()
    total = sum(counts.values(), Counter())
    counts = {name: counts[name] for name in SEEDS if name in counts}
    rows = [[name, str(sum(row.values())), *(str(row[kind]) for kind in OUTCOMES)] for name, row in counts.items()]
    rows.append(["all", str(sum(total.values())), *(str(total[kind]) for kind in OUTCOMES)])
    show([["seed", "mutants", *OUTCOMES], ["---"] * (2 + len(OUTCOMES)), *rows])
    if wrong:
        print()
        listed = sorted(wrong.items(), key=lambda item: (item[0][0], -len(item[1])))
        lines = [[*key, str(len(found)), str(found[0])] for key, found in listed]
        show([["outcome", "seed", "what", "times", "first"], ["---"] * 5, *lines])


if __name__ == "__main__":
    run_command(main)
