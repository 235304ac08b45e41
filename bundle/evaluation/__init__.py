"""Evaluate translated images: compare them with the real images, next to baseline methods.

``python -m monai.bundle run evaluating --config_file configs/evaluate.json`` prints one table for each kind of pair and
writes a report. Images are processed in slabs of a few slices, so that no volume has to fit into memory.

- `run`: evaluation on pairs; `generated`: evaluation of images from scratch; `calibrating`: kernel calibration;
- `cases`: the pairs; `methods`: ours and the baselines; `metrics`: the metrics; `report`: tables and figures.
"""
