"""The machine: files, memory, processes.

- `hashes` of files; `bytes`: memory sizes given as text;
- `malloc`: the C library's heap; `precision`: whether a device computes in bfloat16;
- `prefetch`: reading and writing while computing; `ranks`: the processes of one run.
"""

from bundle.runtime.bytes import parse_bytes
from bundle.runtime.hashes import file_hash
from bundle.runtime.malloc import trim_malloc
from bundle.runtime.precision import has_bfloat16
from bundle.runtime.prefetch import prefetch
from bundle.runtime.ranks import first, leave, rank, wait, world

__all__ = [
    "file_hash",
    "first",
    "has_bfloat16",
    "leave",
    "parse_bytes",
    "prefetch",
    "rank",
    "trim_malloc",
    "wait",
    "world",
]
