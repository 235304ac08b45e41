"""Anatomy of the thorax phantom: its bodies in the order of painting, in millimetres and HU.

Axes as in DICOM: x to the patient's left, y to the back, z to the head; (0, 0, 0) is the middle of the chest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from bundle.examples.phantom.bodies import Body, Ellipsoid, Tube

FIELD_MM = (380.0, 292.0, 300.0)  # the whole thorax
FAT, SOFT, MUSCLE, BLOOD, LUNG, EMPHYSEMA, LUMEN = -100, 40, 55, 45, -860, -970, -990
MARROW, CORTEX, PROCESS, DISC = 220, 620, 420, 90
# centre and semi-axes; right, then left
LUNGS = (((-76, 2, 0), (65, 93, 150)), ((76, 2, 0), (63, 93, 150)))
DOMES = (((-76, 5, -165), (88, 118, 98)), ((76, 8, -178), (88, 118, 94)))  # liver and spleen push the diaphragm up
HEART = ((28, -34, -38), (60, 46, 66))
TILT = (0.88, 0.47)  # cosine and sine of the heart's tilt
TRACHEA = ((0, 6, 400), (0, 16, 46))
VESSEL_ENDS, AIRWAY_ENDS = 600, 40  # number of ends of each tree in each lung


def thorax(seed: int) -> list[Body]:
    """Return all bodies; each is painted over the ones before it."""
    rng = np.random.default_rng(seed)
    lungs = [[*emphysema(rng, side), *vessels(rng, side), nodule(rng, side)] for side in (0, 1)]
    airways = [*airway_tree(rng, 0), *airway_tree(rng, 1), Tube(*TRACHEA, (9, 9), LUMEN)]
    return [*chest_wall(), *lungs[0], *lungs[1], *middle(), *spine(), *airways]


def chest_wall() -> Iterator[Body]:
    """Yield fat, muscle, shoulder blades, ribs, and the space of the lungs."""
    yield Ellipsoid((0, 2, 0), (182, 138, 900), FAT, 0.5)
    yield Ellipsoid((0, 3, 0), (170, 124, 800), MUSCLE, 0.5)
    for side in (-1, 1):
        yield Ellipsoid((side * 112, 88, 120), (50, 8, 60), PROCESS, 0.0, (0.86, -0.5 * side))
        yield Ellipsoid((side * 60, -116, -10), (44, 12, 70), FAT)
    yield from ribs()
    for centre, radii in LUNGS:
        yield Ellipsoid(centre, radii, LUNG, 0.45, lung=True)


def ribs() -> Iterator[Body]:
    """Yield pairs of ribs that slope down towards the front, each a ring of tubes: dense bone around marrow."""
    angle = np.linspace(0.16, 2.45, 15)
    for pair in range(14):
        top = 172.0 - 26.0 * pair
        wide = 1 - 0.22 * max(top / 190.0, 0) ** 2
        x, y, z = 152 * wide * np.sin(angle), 2 + 110 * wide * np.cos(angle), top - 34 * (1 - np.cos(angle))
        for side in (-1, 1):
            for radius, value in ((5.2, CORTEX), (3.0, MARROW)):
                for start, end in pairwise(zip(side * x, y, z, strict=True)):
                    yield Tube(start, end, (radius, radius), value)


def spine() -> Iterator[Body]:
    """Yield vertebrae with discs between them, arches and processes, and the spinal canal."""
    yield Tube((0, 76, -400), (0, 76, 400), (15.5, 15.5), DISC)
    for z in range(-192, 193, 24):
        for inner, value in ((0.0, PROCESS), (2.0, MARROW)):
            for shift in (-2, 2):
                yield Ellipsoid((0, 76, z + shift), (19.5 - inner, 16.5 - inner, 11 - inner), value, 0.5)
        for side in (-1, 1):
            yield Tube((11 * side, 90, z), (13 * side, 100, z), (4.5, 4.0), PROCESS)
            yield Tube((13 * side, 100, z), (38 * side, 108, z + 3), (4.5, 3.5), PROCESS)
            yield Tube((13 * side, 100, z), (0, 112, z - 3), (4.0, 4.0), PROCESS)
        yield Tube((0, 112, z - 3), (0, 126, z - 14), (3.8, 3.0), PROCESS)
    yield Tube((0, 100, -400), (0, 100, 400), (8.5, 8.5), SOFT - 20)


def middle() -> Iterator[Body]:
    """Yield diaphragm, mediastinal fat, breastbone, heart, great vessels, oesophagus and the wall of the trachea."""
    for centre, radii in DOMES:
        yield Ellipsoid(centre, radii, SOFT + 15, 0.3)
    yield Ellipsoid((0, 18, 10), (30, 84, 260), FAT + 15, 0.4)
    yield Ellipsoid((0, -96, -10), (24, 9, 110), CORTEX - 250, 0.6)
    yield Ellipsoid((0, -96, -10), (21, 6.5, 107), MARROW - 60, 0.6)
    yield Ellipsoid(HEART[0], (63, 49, 69), FAT, 0.0, TILT)
    yield Ellipsoid(*HEART, BLOOD, 0.0, TILT)
    aorta = ((4, -22, 10), (-8, -26, 52), (10, -2, 74), (26, 40, 60), (26, 52, 20), (14, 52, -400))
    for start, end in pairwise(aorta):
        yield Tube(start, end, (13, 12.5), BLOOD)
    yield Tube((-30, -22, 110), (-28, -14, -20), (9, 10), BLOOD)  # superior vena cava
    yield Tube((16, -16, 22), (30, 2, 14), (13, 10), BLOOD)  # pulmonary trunk, left and right artery
    yield Tube((16, -16, 22), (-30, 0, 12), (11, 9), BLOOD)
    yield Tube((-4, 44, 400), (4, 46, -400), (6, 6), SOFT)
    yield Tube(*TRACHEA, (10.5, 10.5), SOFT - 80)


def points_in_lung(rng: np.random.Generator, side: int, count: int, margin: float) -> np.ndarray:
    """Return random points in one lung (0 right, 1 left), at least ``margin`` mm from its borders; `(count, 3)`."""
    centre, radii = LUNGS[side]
    points = rng.uniform(-1, 1, (40 * count, 3)) * np.array(radii) + np.array(centre)
    keep = Ellipsoid(centre, radii, LUNG, 0.45).inside(points, margin) & (np.abs(points[:, 0]) > 26 + margin)
    for other in (DOMES[side], HEART):
        keep &= ~Ellipsoid(*other, SOFT).inside(points, -margin)
    return points[keep][:count]


def emphysema(rng: np.random.Generator, side: int) -> Iterator[Body]:
    """Yield holes in the lung tissue, larger in the upper lobe."""
    for centre in points_in_lung(rng, side, 80, 11.0):
        size = rng.uniform(1.2, 7.5) * (1.0 if centre[2] > 20 else 0.5)
        yield Ellipsoid(tuple(centre), tuple(size * rng.uniform(0.8, 1.3, 3)), EMPHYSEMA)


def nodule(rng: np.random.Generator, side: int) -> Body:
    """Return a round nodule of 7 to 17 mm."""
    centre = points_in_lung(rng, side, 1, 16.0)[0]
    return Ellipsoid(tuple(centre), tuple(rng.uniform(3.5, 8.0) * rng.uniform(0.9, 1.1, 3)), SOFT - 10)


def vessels(rng: np.random.Generator, side: int) -> Iterator[Body]:
    """Yield arteries and veins of one lung."""
    sign = 2 * side - 1
    for shift in (np.array([0, -6, 4]), np.array([0, 8, -10])):
        root = [np.array([12 * sign, 4, 6]) + shift, np.array([42 * sign, 4, 2]) + shift]
        for start, end, radii in tree(rng, root, points_in_lung(rng, side, VESSEL_ENDS, 3.0), 0.6, 6.0):
            yield Tube(start, end, radii, BLOOD)


def airway_tree(rng: np.random.Generator, side: int) -> Iterator[Body]:
    """Yield the bronchi of one lung: first all walls, then all lumina."""
    sign = 2 * side - 1
    root = [np.array(TRACHEA[1]), np.array([20 * sign, 14, 24]), np.array([40 * sign, 10, 8])]
    branches = list(tree(rng, root, points_in_lung(rng, side, AIRWAY_ENDS, 28.0), 1.1, 6.0))
    for start, end, radii in branches:
        yield Tube(start, end, (radii[0] + 1.2, radii[1] + 0.9), SOFT - 100)
    for start, end, radii in branches:
        yield Tube(start, end, radii, LUMEN)


def tree(
    rng: np.random.Generator, root: Sequence[np.ndarray], ends: np.ndarray, leaf: float, trunk: float
) -> Iterator[tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]]:
    """Join points into a branching tree; yield start, end and the radii at both for each branch.

    Ends are joined one by one, nearest first, to a node close to both the end and the root, with a bend halfway. Radii
    follow Murray's law (a parent's radius cubed is the sum of its children's), from ``leaf`` at the ends up to
    ``trunk`` mm.
    """
    count, parent = len(root), [max(i - 1, 0) for i in range(len(root))]
    nodes, path = np.zeros((count + 2 * len(ends), 3)), np.zeros(count + 2 * len(ends))
    nodes[:count] = root
    for end in ends[np.argsort(((ends - root[-1]) ** 2).sum(1))]:
        near = int(np.argmin(np.sqrt(((nodes[:count] - end) ** 2).sum(1)) + 0.35 * path[:count]))
        way = end - nodes[near]
        length = float(np.linalg.norm(way))
        nodes[count : count + 2] = nodes[near] + way / 2 + rng.normal(0, 0.08, 3) * length, end
        path[count : count + 2] = path[near] + length / 2, path[near] + length
        parent += [near, count]
        count += 2
    cube = np.zeros(len(nodes))
    for i in range(len(nodes) - 1, 0, -1):
        cube[i] = max(cube[i], leaf**3)
        cube[parent[i]] += cube[i]
    radius = np.minimum(np.cbrt(cube), trunk)
    for i in range(len(nodes) - 1, 0, -1):
        yield tuple(nodes[parent[i]]), tuple(nodes[i]), (min(radius[parent[i]], 1.3 * radius[i]), radius[i])
