"""Example images to try the bundle on.

- `phantom`: an analytic thorax CT of any size; `samples`: open thorax CTs to download. Both run with ``python -m``.
"""
