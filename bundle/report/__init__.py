"""Report what a translation did to an image, for reading and for further processing.

- `case`: write the report of one result in all requested formats; `facts`: collect its contents as plain data;
- `slices`: pictures of source, result and difference; `kernels`: transfer functions; `noise_power`: noise spectra;
- `charts`: plots of the curves; `page`: HTML page; `document`: PDF; `structured`: DICOM structured report;
- `wording`: texts of page and PDF;
- `summary`: CSV table with one row per image; `agreement`: Bland-Altman plots, if the truth is known;
- `reporting`: report existing results; `pairing`: match sources and results.
"""

from bundle.report.case import Report
from bundle.report.reporting import Reporting
from bundle.report.summary import Summary

__all__ = ["Report", "Reporting", "Summary"]
