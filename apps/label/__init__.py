"""Serve the bundle by MONAI Label's stock app, on loopback.

`folder` lays the app out, `server` keeps it responsive while it translates, and `guard` checks every request against
the allow-lists of `rules` before the stock app sees it. ``python -m apps.label STUDIES`` starts it; see
``docs/label.md``.
"""
