"""The machine: files, memory, processes.

- `files`: atomic files and folders, and their hashes; `replace`: one folder by another, in one step;
- `typed`: paths as they were typed; `patterns`: what they stand for; `arguments`: misspelt keys;
- `errors`: one last line; `each`: an evaluator over images, one of which may fail; `afterwards`: when all are done;
- `choose`: settings by one key; `resolver`: the config that calls;
- `bytes`: memory sizes given as text; `host_memory`: what the host has left; `process`: its age;
- `malloc`: the C library's heap; `precision`: where bfloat16 saves time, and is right;
- `system`: where systems differ; `locks`: between processes; `origins`: what was taken out of an archive;
- `job`: all that a result depends on; `notes`: what is worth telling of an image;
- `prefetch`: reading and writing while computing; `threads`: some things at once;
- `ranks`: the processes of one run; `torchrun`: what starts them.
"""

from bundle.runtime.afterwards import afterwards, all_images
from bundle.runtime.bytes import parse_bytes
from bundle.runtime.choose import choose
from bundle.runtime.files import file_hash, fingerprint
from bundle.runtime.host_memory import free_memory
from bundle.runtime.job import Job
from bundle.runtime.malloc import trim_malloc
from bundle.runtime.notes import begin_notes, fault, faults, note, noted, remark, warn
from bundle.runtime.patterns import root_of
from bundle.runtime.precision import has_bfloat16, in_bfloat16
from bundle.runtime.prefetch import prefetch
from bundle.runtime.ranks import first, of_first, rank, shutdown, wait, world
from bundle.runtime.resolver import deferred
from bundle.runtime.threads import one_thread, side_by_side
from bundle.runtime.typed import typed_path

__all__ = [
    "Job",
    "afterwards",
    "all_images",
    "begin_notes",
    "choose",
    "deferred",
    "fault",
    "faults",
    "file_hash",
    "fingerprint",
    "first",
    "free_memory",
    "has_bfloat16",
    "in_bfloat16",
    "note",
    "noted",
    "of_first",
    "one_thread",
    "parse_bytes",
    "prefetch",
    "rank",
    "remark",
    "root_of",
    "shutdown",
    "side_by_side",
    "trim_malloc",
    "typed_path",
    "wait",
    "warn",
    "world",
]
