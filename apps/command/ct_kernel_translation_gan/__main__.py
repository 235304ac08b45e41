"""The command: ``python -m ct_kernel_translation_gan``, or ``ct-kernel-translation`` once installed."""

from __future__ import annotations

from ct_kernel_translation_gan.command import main

if __name__ == "__main__":
    raise SystemExit(main())
