"""Run a bundle's configs on golden inputs; needs nothing but MONAI and the bundle, of whichever checkout it runs in.

`tests/test_golden.py` calls `run_job`; `benchmarks/same_bytes.py` runs this file's text in the folder of a checkout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

#: Keys of every job: float32 on the CPU.
COMMON = {"amp": False, "device": "cpu", "seed": 0}


def run_job(root: Path, job: dict[str, Any]) -> None:
    """Run one job.

    Args:
        root: folder of the bundle.
        job: ``configs``, names of files in its ``configs/``, the first of them overlaid by the others; ``run_id``; and
            ``keys``, the top-level keys to set, ``dataset_dir`` and ``output_dir`` among them.
    """
    workflow = ConfigWorkflow(
        [str(root / "configs" / f"{name}.json") for name in job["configs"]],
        workflow_type="infer",
        logging_file=False,
        init_id="initialize",
        run_id=job["run_id"],
        bundle_root=str(root),
        **{**COMMON, **job["keys"]},
    )
    workflow.initialize()
    workflow.run()


def main(jobs: str, errors: str) -> None:
    """Run the jobs of a JSON file in the current folder's bundle, and write the errors of those that fail as JSON."""
    failed = {}
    for name, job in json.loads(Path(jobs).read_text()).items():
        try:
            run_job(Path.cwd(), job)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error.__cause__ or error}"
    Path(errors).write_text(json.dumps(failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
