"""The machine below: files, memory, processes.

`bytes`: sizes given as text; `malloc`: the C library's heap; `precision`: what a device computes in;
`prefetch`: reading and writing while computing; `ranks`: the processes of one run; `files`: atomic files and folders,
and hashes; `errors`: one last line; `host_memory`: what the host has left; `typed`: paths as they were typed.
"""

from bundle.runtime.bytes import parse_bytes
from bundle.runtime.files import file_hash, fingerprint
from bundle.runtime.host_memory import free_memory
from bundle.runtime.malloc import giving_back
from bundle.runtime.precision import has_bfloat16
from bundle.runtime.prefetch import overlapped
from bundle.runtime.ranks import first, leave, rank, wait, world
from bundle.runtime.typed import typed_path

__all__ = [
    "file_hash",
    "fingerprint",
    "first",
    "free_memory",
    "giving_back",
    "has_bfloat16",
    "leave",
    "overlapped",
    "parse_bytes",
    "rank",
    "typed_path",
    "wait",
    "world",
]
