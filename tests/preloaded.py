"""What the programs of tests import, imported once for all of them; see `tests.processes.ran`."""

import importlib
import pkgutil
from contextlib import suppress

import bundle

for _module in pkgutil.walk_packages(bundle.__path__, "bundle."):
    if not _module.name.endswith("__main__"):
        with suppress(ImportError):  # an extra that is not installed here
            importlib.import_module(_module.name)
