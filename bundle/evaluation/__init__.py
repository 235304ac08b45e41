"""How good a result is: measured in the lung window against the real thing, beside what a user has without this bundle.

``python -m monai.bundle run evaluating --config_file configs/evaluate.json`` prints one table for each kind of pair and
writes a report. Everything passes through in slabs of a few slices, so that no volume has to fit into memory.

- what is compared: `volumes` (images on disk as slabs), `pairs`, `simulated` (pairs of one CT), `cases` (which ones);
- how: `metrics` (SSIM, MAE, MSE), `densitometry` (of the lung), `seams`, `spectrum` (noise power), `significance`
  (paired t-test), `measuring` (seconds and memory);
- how, of collections: `frechet` (distances, of `slices`, by networks of `features`), `nearest` (memorisation);
- with what: `methods` (what a method is), `filters`, `radial`, `tuning`, `cascades` (this bundle, and its baselines);
- all of it: `run`; `table` and `figures` show it.
"""
