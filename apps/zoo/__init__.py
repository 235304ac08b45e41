"""The bundle as a submission to the MONAI Model Zoo: packed, and checked as the zoo's CI does it, without a network.

``python -m apps.zoo pack`` (`make zip`) and ``python -m apps.zoo check`` (`make zoo-check`). The rooms:

- `archive`: which files a submission holds, and the zip of them;
- `submission`: what a check is given, and how it refuses;
- `files`, `papers`, `metadata`, `packages`, `networks`, `style`, `unit_tests`: the checks;
- `exports`: what `networks` runs inside of the unpacked submission;
- `ci/unit_tests/`: the tests in the zoo's form, to be copied into its folder of the same name.
"""
