"""The report of a result: what was done to the image, to look at and to compute with.

- `case`: the report of one result, in all formats that are asked for; `facts`: what it tells, for JSON;
- `slices`: pictures of source, result and difference; `kernels`: transfer functions; `noise_power`: noise spectra;
- `charts`: curves drawn; `page`: the HTML page; `document`: the PDF; `structured`: DICOM's structured report;
- `summary`: one row an image, as CSV; `agreement`: Bland-Altman plots, where the truth is known;
- `reporting`: reports of results that exist already, with `pairing` of sources and results.
"""

from bundle.report.case import Report
from bundle.report.reporting import Reporting
from bundle.report.summary import Summary

__all__ = ["Report", "Reporting", "Summary"]
