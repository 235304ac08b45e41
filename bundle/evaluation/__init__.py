"""How good a result is: compared with the real image in the lung window, beside the baselines.

``python -m monai.bundle run evaluating --config_file configs/evaluate.json`` prints one table for each kind of pair and
writes a report. Images are processed in slabs of a few slices, so that no volume has to fit into memory.

- `run`: the evaluation on pairs; `generated`: that of images from scratch;
- `cases`: the pairs; `methods`: ours and the baselines; `metrics`: the measures; `report`: tables and figures.
"""
