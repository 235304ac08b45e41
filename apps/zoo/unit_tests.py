"""Run the bundle's unit tests in the zoo's form as the zoo does: in its folder, with the bundle in `models/`."""

from __future__ import annotations

import re

from apps.zoo.archive import NAME
from apps.zoo.submission import CheckFailed, Submission

#: The second one is for several GPUs; the zoo runs it if it exists. Without a GPU it starts two processes.
TESTS = (f"test_{NAME}", f"test_{NAME}_dist")


def unit_tests(submission: Submission) -> str:
    """Check that the tests in `ci/unit_tests` pass on the submission.

    Raises:
        CheckFailed: If a test fails or is skipped, or none is run.
    """
    folder, count = submission.zoo / "ci" / "unit_tests", 0
    for name in TESTS:
        output = submission.run("unittest", name, cwd=submission.zoo, path=folder)
        ran = re.search(r"^Ran (\d+) tests?", output, re.MULTILINE)
        if not ran or not int(ran[1]) or re.search(r"^OK \(skipped", output, re.MULTILINE):
            raise CheckFailed(f"ci/unit_tests/{name}.py ran no test, or skipped one; all must run here.")
        count += int(ran[1])
    return f"{count} tests"
