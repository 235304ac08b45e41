"""Quality assurance with a phantom: measure by pylinac what a translation does to HU, resolution and noise.

``python -m apps.qa BEFORE AFTER`` runs in a separate environment (`requirements/qa.txt`; pylinac needs pydicom 2).
``make qa`` makes the environment, translates a series by the bundle and compares both.

- `measure`: measure HU of inserts, uniformity, noise power and MTF of a series by pylinac; `measured`: the result;
- `compare`: compare two or three measured series, and check whether water or air moved; `figure`: draw the comparison;
- `environment`: find pylinac's environment;
- `phantom`, `phantoms`, `simulate`, `series`: draw a phantom, acquire it by the simulated scanner and write it as
  DICOM; these run in the bundle's environment.
"""
