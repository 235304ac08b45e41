"""Evaluate every method on every pair; write one table for each kind of pair and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bundle.evaluation.cases import Case, Pair, check_names, pair_in
from bundle.evaluation.methods import Cost, Method, measured
from bundle.evaluation.metrics import (
    LUNG,
    UNKNOWN,
    Density,
    Features,
    IntensityWindow,
    between,
    compare,
    densitometry,
    faces_of,
    grid,
    jumps,
    lung_blocks,
    plane_features,
    seam,
)
from bundle.evaluation.report import (
    OWN_CSV_LINE,
    OWN_LINE,
    Record,
    as_csv,
    draw_boxes,
    draw_enlarged,
    draw_slices,
    draw_spectra,
    markdown,
    notes,
)
from bundle.images import Slabs, Volume
from bundle.images.own_files import check_own
from bundle.runtime.files import atomic
from torch import Tensor
from tqdm import tqdm

#: Figures of each kind of pairs.
FIGURES = ("slices", "enlarged", "noise", "blocks")
WAY_OUT = "move it away, or take another output_dir"
NOTHING = Cost(float("nan"), float("nan"))


@dataclass(frozen=True)
class Evaluation:
    """Compare methods on pairs of a sharp source and its soft target.

    Args:
        cases: cases to prepare as pairs.
        methods: methods, the rows of the table, by key; the others are tested against ``ours``.
        output_dir: folder for ``report.md``, its figures, ``table.csv``, and the pairs and results as images.
        slices: number of central slices of each case; null for all.
        tuning: cases on which free parameters are tuned; without any, methods that need tuning are left out.
        tuning_slices: number of slices of each tuning case.
        only: keys of the methods to run; null for all.
        fresh: whether each method runs in its own process, so that its memory can be measured.
        seam_side: side in voxels of the grid on which seams are measured if neither the method nor ours has tiles.
        window: intensity window for comparison and display, in the unit of the images.
        unit: unit of the images; with HU the lung is measured, and noise spectra are drawn.
        features: a feature network for the Frechet distances of source, target and results; null for none.
        titles: titles of the tables, by kind of the pairs, ``real`` and ``simulated``.
    """

    cases: Sequence[Case]
    methods: Mapping[str, Method]
    output_dir: str
    slices: int | None = 32
    tuning: Sequence[Case] = ()
    tuning_slices: int = 8
    only: Sequence[str] | None = None
    fresh: bool = True
    seam_side: int = 32
    window: IntensityWindow = LUNG
    unit: str = "HU"
    features: Features | None = None
    titles: Mapping[str, str] = field(default_factory=lambda: {"real": "Real pairs", "simulated": "Simulated pairs"})

    def run(self) -> Path:
        """Run the evaluation, print the tables, write the report and return its path.

        Raises:
            FileExistsError: If a file would be replaced that this bundle has not made.
            FileNotFoundError: If our weights are missing.
            ValueError: If ``only`` names an unknown method or none that can run, two cases have the same name, the
                window does not rise, or a case cannot be prepared as a pair.
        """
        low, high = self.window
        if not low < high:
            raise ValueError(f"window {list(self.window)} must rise, such as [-1000, 200].")
        methods, left_out = self.available()
        for cases in (self.cases, self.tuning):
            check_names(cases)
        self.check_files(methods)
        folder = Path(self.output_dir)
        with tqdm(self.cases, "pairs") as bar:  # which an error closes, so that the error is the last line
            pairs = [case.prepare(folder / "pairs", self.slices) for case in bar]
        methods = self.tuned(methods)
        records: list[Record] = []
        with tqdm(total=len(pairs) * len(methods), unit="result") as bar:
            for pair in pairs:
                records += self.measure(pair, methods, bar)
        named = {key: method.name for key, method in methods.items()}
        titles = {"source": "source as it is", **named, "target": "target"}
        report = self.report(records, methods, titles, pairs, left_out)
        for name, text in (("table.csv", as_csv(records)), ("report.md", report)):
            with atomic(folder / name) as part:
                part.write_text(text, encoding="utf-8")
        print(report)
        return folder / "report.md"

    def check_files(self, methods: Mapping[str, Method]) -> None:
        """Refuse to replace any file but those of an earlier evaluation."""
        folder = Path(self.output_dir)
        lines = {"report.md": OWN_LINE, "table.csv": OWN_CSV_LINE}
        names = [f"{kind}_{figure}.png" for kind in self.titles for figure in FIGURES]
        for name in (*lines, *names):
            check_own(folder / name, "file", lines.get(name, ""), WAY_OUT)
        for part, cases in {"pairs": self.cases, "tuning": self.tuning}.items():
            for pair in (pair_in(case.name, "", folder / part) for case in cases):
                for path in (pair.source, pair.target, *(self.result(pair, key) for key in methods)):
                    check_own(path, "file", way_out=WAY_OUT)

    def available(self) -> tuple[dict[str, Method], list[str]]:
        """Return the methods that can run, by key, and the reasons why others cannot."""
        for key in self.only or ():
            if key not in self.methods:
                raise ValueError(f"only names {key!r}, which is not a method; take some of {', '.join(self.methods)}.")
        methods, left_out = {}, []
        for key, method in self.methods.items():
            if self.only is not None and key not in self.only:
                continue
            reason = method.missing() or ("tuning_dir is not given" if method.needs_tuning and not self.tuning else "")
            if reason and key == "ours":
                raise FileNotFoundError(f"ours cannot run: {reason}; train it, or give weights.")
            if reason:
                left_out.append(f"{method.name} is left out: {reason}.")
            else:
                methods[key] = method
        if self.only and not methods:
            raise ValueError(f"only {list(self.only)} leaves no method: {' '.join(left_out)} Give what is missing.")
        return methods, left_out

    def tuned(self, methods: Mapping[str, Method]) -> dict[str, Method]:
        """Return the methods with their free parameters tuned."""
        needed = any(method.needs_tuning for method in methods.values())
        pairs = [case.prepare(Path(self.output_dir) / "tuning", self.tuning_slices) for case in self.tuning if needed]
        with tqdm(methods.items(), "tuning", unit="method") as bar:
            return {key: method.tuned(pairs) for key, method in bar}

    def measure(self, pair: Pair, methods: Mapping[str, Method], bar: tqdm) -> list[Record]:
        """Measure every method on one pair; the first row is the unchanged source, the last the target."""
        target = Volume(pair.target)
        lung = lung_blocks(target) if self.unit == "HU" else None
        truth, steps = density_of(target, target, lung), jumps(target, self.window)
        own = methods["ours"].windows(target.shape) if "ours" in methods else []
        own_faces = faces_of(own or grid(target.shape, self.seam_side), target.shape)
        if not any(own_faces):
            own_faces = faces_of(grid(target.shape, self.seam_side), target.shape)

        def record(key: str, name: str, path: Path, faces: list[list[int]], cost: Cost) -> Record:
            image = Volume(path)
            density = density_of(image, target, lung)
            comparison = compare(image, target, self.window)
            seams = seam(jumps(image, self.window), steps, faces)
            return Record(pair.kind, pair.name, key, name, comparison, density, truth, seams, cost)

        records = []
        if pair.source != pair.target:
            records.append(record("source", "source as it is", pair.source, own_faces, NOTHING))
        for key, method in sorted(methods.items(), key=lambda item: item[0] != "ours"):  # ours first: it may fail
            bar.set_description(f"{pair.name}, {key}")
            tuned = method.for_pair(pair)
            path = self.result(pair, key)
            cost = measured(tuned, pair.source, path, self.fresh)
            faces = faces_of(tuned.windows(target.shape), target.shape)
            records.append(record(key, tuned.name, path, faces if any(faces) else own_faces, cost))
            bar.update()
        return [*records, record("target", "target", pair.target, own_faces, NOTHING)]

    def result(self, pair: Pair, key: str) -> Path:
        """Return the path of a method's result."""
        return Path(self.output_dir) / "results" / pair.name / f"{key}.nii"

    def report(
        self,
        records: Sequence[Record],
        methods: Mapping[str, Method],
        titles: Mapping[str, str],
        pairs: Sequence[Pair],
        left_out: Sequence[str],
    ) -> str:
        """Return the report in Markdown, and draw its figures for the first pair of each kind."""
        folder, parts = Path(self.output_dir), ["# Evaluation"]
        for kind, title in self.titles.items():
            own = [record for record in records if record.kind == kind]
            if not own:
                continue
            parts += [f"## {title}", markdown(own, titles), notes(own, self.window, self.unit), *left_out]
            own_pairs = [pair for pair in pairs if pair.kind == kind]
            if self.features:
                parts.append(self.distances(own_pairs, titles, self.features))
            pair = own_pairs[0]
            images = {"source": Volume(pair.source)} if pair.source != pair.target else {}
            for key in ("ours", *(("gaussian",) if "gaussian" in titles else ("small", "patch"))):
                if key in titles:
                    images[titles[key].replace("*", "")] = Volume(self.result(pair, key))
            images["target"] = Volume(pair.target)
            draw_slices(folder / f"{kind}_slices.png", images, window=self.window, unit=self.unit)
            parts.append(f"![slices and their differences]({kind}_slices.png)\n\n*{pair.name}*")
            if "ours" in methods:
                tiles = faces_of(methods["ours"].windows(images["target"].shape), images["target"].shape)
                draw_enlarged(
                    folder / f"{kind}_enlarged.png",
                    Volume(self.result(pair, "ours")),
                    images["target"],
                    tiles,
                    self.window,
                )
                parts.append(f"![a part across the borders of tiles, which the ticks show]({kind}_enlarged.png)")
            if self.unit == "HU" and draw_spectra(folder / f"{kind}_noise.png", images):
                parts.append(f"![noise power spectra]({kind}_noise.png)")
            blocks = {
                name: np.concatenate([record.comparison.blocks["ssim"] for record in own if record.key == key])
                for key, name in titles.items()
                if key != "target" and any(record.key == key for record in own)
            }
            draw_boxes(folder / f"{kind}_blocks.png", blocks)
            parts.append(f"![SSIM of blocks]({kind}_blocks.png)")
        return "\n\n".join(parts) + "\n"

    def distances(self, pairs: Sequence[Pair], titles: Mapping[str, str], features: Features) -> str:
        """Return the Frechet distances of each method's results (Uzunova et al. 2019, section 3.2), in Markdown."""

        def of(paths: Sequence[Path]) -> list[Tensor]:
            return plane_features(map(Volume, paths), features, self.window)

        source, target = of([pair.source for pair in pairs]), of([pair.target for pair in pairs])
        lines = [
            f"Frechet distances, {features.name}:",
            "",
            "| method | to the target | to the source |",
            "|---|---|---|",
            f"| source as it is | {between(source, target):.4g} | 0 |",
        ]
        for key, title in titles.items():
            if key not in ("source", "target"):
                results = of([self.result(pair, key) for pair in pairs])
                lines.append(f"| {title} | {between(results, target):.4g} | {between(results, source):.4g} |")
        return "\n".join(lines)


def density_of(image: Slabs, target: Slabs, lung: Tensor | None) -> Density:
    """Return the lung density of an image; NaN without a lung mask."""
    return UNKNOWN if lung is None else densitometry(image, target, lung)
