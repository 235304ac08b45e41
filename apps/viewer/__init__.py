"""Viewer: a local page that shows source, result and their difference, slice by slice, in linked panels.

`streams` turns any image into the bytes of a NIfTI file; `server` serves them and the page on loopback; NiiVue draws.
Start it by ``python -m apps.viewer SOURCE RESULT``; see ``docs/viewer.md``.
"""
