"""Files, memory, processes and the command line.

- `files`: atomic writing and disk space; `replace`: replaces a folder in one step; `hashes`: tell changed files;
- `typed`: recovers paths and texts as typed; `patterns`: expands path patterns; `arguments`: refuses misspelt keys;
- `words`: reads MONAI's command line; `unused`: finds keys that nothing uses;
- `components`: which arguments a component takes;
- `literal`: keeps texts that are data from being read as code;
- `settings`: checks the values of keys, `weights` the checkpoint; `scalars`: tells whole and finite numbers;
- `commands`: runs functions from the command line, once all options fit;
- `choose`: selects settings by one key; `resolver`: finds the calling config;
- `errors`: ends a failed run with a one-line cause; `each`: runs an evaluator over images, some of which may fail;
- `afterwards`: runs tasks after all images; `notes`: collects warnings and facts about the current image;
- `bytes`: parses memory sizes; `host_memory`: free and used memory of the host; `process`: age of this process;
- `malloc`: returns freed memory to the system; `precision`: decides where to use bfloat16;
- `system`: differences between operating systems; `locks`: locks between processes;
- `origins`: maps unpacked files to their archive; `job`: records what a result depends on, `config_hash`: its settings;
- `prefetch`: reads and writes while computing; `threads`: computes several items in parallel;
- `ranks`: the processes of a distributed run; `torchrun`: starts them.
"""

from bundle.runtime.afterwards import afterwards, all_images
from bundle.runtime.bytes import parse_bytes
from bundle.runtime.choose import choose
from bundle.runtime.hashes import file_hash, fingerprint
from bundle.runtime.host_memory import free_memory
from bundle.runtime.job import Job
from bundle.runtime.malloc import set_up_malloc, trim_malloc
from bundle.runtime.notes import begin_notes, fault, faults, note, noted, remark, warn
from bundle.runtime.patterns import root_of
from bundle.runtime.precision import has_bfloat16, in_bfloat16
from bundle.runtime.prefetch import prefetch
from bundle.runtime.ranks import first, of_first, rank, shutdown, wait, world
from bundle.runtime.scalars import is_count, is_finite, is_whole
from bundle.runtime.threads import one_thread, side_by_side
from bundle.runtime.typed import typed_path, typed_text

__all__ = [
    "Job",
    "afterwards",
    "all_images",
    "begin_notes",
    "choose",
    "fault",
    "faults",
    "file_hash",
    "fingerprint",
    "first",
    "free_memory",
    "has_bfloat16",
    "in_bfloat16",
    "is_count",
    "is_finite",
    "is_whole",
    "note",
    "noted",
    "of_first",
    "one_thread",
    "parse_bytes",
    "prefetch",
    "rank",
    "remark",
    "root_of",
    "set_up_malloc",
    "shutdown",
    "side_by_side",
    "trim_malloc",
    "typed_path",
    "typed_text",
    "wait",
    "warn",
    "world",
]
