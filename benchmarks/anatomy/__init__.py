"""What a conversion keeps of the anatomy: real pairs, and objects of known size in real CTs.

- `real`: mean HU, detail and radiomic features of real pairs, against the real target;
- `inserted`: nodules, vessels and airways put into soft CTs before a simulated acquisition;
- `objects`: their shape and how the soft kernel shows them; `scans`: CTs, places in lungs, acquisitions;
- `translate`: what the bundle and fixed Gaussians make of an image;
- `observer`: detectability; `half_maximum`: airway walls; `regions`: mean HU and detail; `texture`: features;
- `picture`: the figure.
"""
