"""The machine below: files, memory, processes.

`choose`: settings by one key; `hashes` of files; `bytes`: sizes given as text; `malloc`: the C library's heap;
`precision`: what a device computes in; `prefetch`: reading and writing while computing; `ranks`: the processes of one
run.
"""

from bundle.runtime.bytes import parse_bytes
from bundle.runtime.choose import choose
from bundle.runtime.hashes import file_hash
from bundle.runtime.malloc import giving_back
from bundle.runtime.precision import has_bfloat16
from bundle.runtime.prefetch import overlapped
from bundle.runtime.ranks import first, rank, shutdown, wait, world

__all__ = [
    "choose",
    "file_hash",
    "first",
    "giving_back",
    "has_bfloat16",
    "overlapped",
    "parse_bytes",
    "rank",
    "shutdown",
    "wait",
    "world",
]
