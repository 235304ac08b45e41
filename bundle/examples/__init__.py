"""Images to try the bundle on.

- `phantom`: an analytic thorax CT of any size; `samples`: open thorax CTs, downloaded. Both run by ``python -m``.
"""
