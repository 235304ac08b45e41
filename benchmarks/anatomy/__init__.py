"""Measure how well a conversion preserves anatomy, on real pairs and on objects of known size in real CTs.

- `real`: mean HU, detail and radiomic features of real pairs, against the real target;
- `inserted`: nodules, vessels and airways inserted into soft CTs before a simulated acquisition;
- `objects`: shapes of these objects as the soft kernel shows them; `scans`: CTs, places in lungs, acquisitions;
- `translate`: translate an image by the bundle and fixed Gaussians;
- `observer`: detectability; `half_maximum`: airway walls; `regions`: mean HU and detail; `texture`: features;
- `picture`: draw the figure.
"""
