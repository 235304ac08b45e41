"""The bundle as a submission to the MONAI Model Zoo: packed, and checked as in the zoo's CI, without a network.

``python -m apps.zoo pack`` (`make zip`) and ``python -m apps.zoo check`` (`make zoo-check`):

- `archive`: which files a submission contains, and their zip;
- `submission`: the argument of a check, and how it fails;
- `files`, `documents`, `hub`, `metadata`, `packages`, `networks`, `style`, `unit_tests`: the checks;
- `pull_request`: the text to send, with their outcomes;
- `exports`: run by `networks` inside the unpacked submission;
- `ci/unit_tests/`: the tests in the zoo's form, to be copied into its folder of the same name.
"""
