"""What the programs of tests import, imported once for all of them; see `tests.processes.ran`."""

import importlib
import pkgutil
from contextlib import suppress

import bundle

OTHERS = ["itk", "nibabel", "pydicom", "skimage.metrics", "zarr"]
OTHERS += [
    f"monai.{name}" for name in ("bundle", "data", "engines", "handlers", "inferers", "networks.nets", "transforms")
]
_own = [module.name for module in pkgutil.walk_packages(bundle.__path__, "bundle.")]

for _name in OTHERS + [name for name in _own if not name.endswith("__main__")]:
    with suppress(ImportError):  # an extra that is not installed here
        importlib.import_module(_name)
