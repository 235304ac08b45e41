"""Viewer: a local web page that shows source, result and their difference, slice by slice, in linked panels.

`streams` converts images to the bytes of NIfTI files; `server` serves them and the page on loopback; NiiVue draws.
Start it by ``python -m apps.viewer SOURCE RESULT``; see ``docs/viewer.md``.
"""
