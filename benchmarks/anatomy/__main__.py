"""Command line of the benchmarks in `docs/anatomy.md`.

python -m benchmarks.anatomy real DATA [--only A0002]
python -m benchmarks.anatomy nodules|vessels|airways|tissue CT [CT ...]
python -m benchmarks.anatomy picture CT [--figure PNG]
"""

from __future__ import annotations

from benchmarks.anatomy import inserted, picture, real
from bundle.runtime.commands import run_command

if __name__ == "__main__":
    run_command({"real": real.main, "picture": picture.main, **inserted.COMMANDS})
