"""Translate medical images of any size, such as CTs with a sharp kernel, from Python or the command line.

::

    from ct_kernel_translation_gan import translate

    translate("scan.nii.gz", "results")                       # a path: returns the paths of results
    soft = translate(sharp, affine=affine)                    # an array; also nibabel, ITK and MetaTensor images
    t2 = translate(t1, experiment="brain_t1_t2")

The command is ``ct-kernel-translation``. Heavy packages are imported only when an image is translated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ct_kernel_translation_gan.root import version

if TYPE_CHECKING:
    from ct_kernel_translation_gan.translating import Translator, translate

__all__ = ["Translator", "translate"]
__version__ = version()


def __getattr__(name: str) -> Any:
    """Import the translating functions on first access."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ct_kernel_translation_gan import translating

    return getattr(translating, name)
