"""Quality assurance with a phantom: what a translation does to HU, resolution and noise, measured by pylinac.

``python -m apps.qa BEFORE AFTER`` runs in an environment of its own (`requirements/qa.txt`; pylinac needs pydicom 2),
``make qa`` makes it, translates a series by the bundle and compares both.

- `measure`: HU of inserts, uniformity, noise power and MTF of a series, all of them pylinac's, as a `measured`;
- `compare`: two or three of these side by side, and whether water or air moved; `figure`: the same as a picture;
- `environment`: where that environment is, and how to make it;
- `phantom`, `simulate`, `series`: a phantom drawn, acquired by the simulated scanner and written as DICOM; these run in
  the bundle's environment.
"""
