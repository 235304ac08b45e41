"""How good a result is: measured in the lung window against the real thing, beside what a user has without this bundle.

``python -m monai.bundle run evaluating --config_file configs/evaluate.json`` prints one table for each kind of pair and
writes a report. Everything passes through in slabs of a few slices, so that no volume has to fit into memory.

- `run` does all of it, of pairs; `generated`, of images from scratch;
- `cases`: which pairs are compared; `methods`: with what; `metrics`: what is measured; `report`: tables and figures.
"""
