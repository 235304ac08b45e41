"""MONAI Label: its stock app with this bundle in it, on loopback.

`folder` lays the app out, `server` keeps it answering while it translates, and `guard` checks every request against the
closed lists of `rules` before the stock app sees it. ``python -m apps.label STUDIES`` starts it; see ``docs/label.md``.
"""
