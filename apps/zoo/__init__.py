"""Pack the bundle as a submission to the MONAI Model Zoo, and check it as in the zoo's CI, without a network.

``python -m apps.zoo pack`` (`make zip`) and ``python -m apps.zoo check`` (`make zoo-check`):

- `archive`: list the files of a submission and zip them;
- `submission`: an unpacked submission, the argument of all checks, and the error that a failed check raises;
- `files`, `documents`, `hub`, `metadata`, `packages`, `networks`, `style`, `unit_tests`: the checks;
- `pull_request`: write the text of the pull request with the outcomes of the checks;
- `exports`: compare exported networks; run by `networks` inside the unpacked submission;
- `ci/unit_tests/`: the tests in the zoo's form, to be copied into its folder of the same name.
"""
