"""MONAI Label: its stock app with this bundle in it, on loopback.

`folder` lays the app out, `server` keeps it answering while it translates. ``python -m apps.label STUDIES`` starts it;
see ``docs/label.md``.
"""
