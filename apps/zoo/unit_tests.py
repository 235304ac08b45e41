"""The bundle's unit tests in the zoo's form, run as the zoo's runner does: from its folder, the bundle in `models/`."""

from __future__ import annotations

import re

from apps.zoo.archive import NAME
from apps.zoo.submission import RefusedError, Submission

#: The second is the one for several GPUs: that it is there makes the zoo run it; without a GPU it takes two processes.
TESTS = (f"test_{NAME}", f"test_{NAME}_dist")


def unit_tests(submission: Submission) -> str:
    """The tests of `ci/unit_tests` pass on the submission.

    Raises:
        RefusedError: If one fails, or none is run.
    """
    where, count = submission.zoo / "ci" / "unit_tests", 0
    for name in TESTS:
        said = submission.run("unittest", name, cwd=submission.zoo, path=where)
        ran = re.search(r"^Ran (\d+) tests?", said, re.MULTILINE)
        if not ran or not int(ran[1]) or re.search(r"^OK \(skipped", said, re.MULTILINE):
            raise RefusedError(f"ci/unit_tests/{name}.py ran no test, or skipped one; all must run here.")
        count += int(ran[1])
    return f"{count} tests"
