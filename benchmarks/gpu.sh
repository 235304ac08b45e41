#!/usr/bin/env bash
# All that is measured on a GPU, in less than nine minutes: benchmarks/gpu.sh [--device cuda] [--minutes 9] ...
# Nothing is installed: PY (by default .venv/bin/python, or else python3) has to have what requirements.txt names.
# The same command goes on where it was stopped; `benchmarks/gpu.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PY=${PY:-$(test -x .venv/bin/python && echo .venv/bin/python || command -v python3)}
"$PY" -c 'import fire, matplotlib, monai, torch, zarr' \
    || { echo "error: $PY lacks what requirements.txt names; set PY=/path/to/python of an environment that has it" >&2; exit 1; }
exec "$PY" -m benchmarks.gpu "$@"
