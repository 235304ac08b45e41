"""Print a plan as a table, and write it as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bundle.images.own_files import check_own
from bundle.images.provenance import NAME
from bundle.runtime import free_memory
from bundle.runtime.files import atomic, free_space
from bundle.transforms.plan import ImagePlan, Plan

#: The line by which the file of an earlier plan is known.
OWN_LINE = f' "bundle": "{NAME}",'
#: With more images than this, scales, steps and notes are left out of the table.
DETAILED = 8


def tell_plan(plan: Plan, path: str | Path | None = None) -> dict[str, Any]:
    """Print a plan, write it to a file if a path is given, and return the contents of that file.

    Args:
        plan: the plan of a run.
        path: path of a JSON file; null for none.

    Raises:
        FileExistsError: If another file than an earlier plan has that path.
        SystemExit: With status 1, if anything is refused; the last line gives the run's message, or how many images are
            refused.
    """
    if path:
        check_own(path, "plan", OWN_LINE, "give plan_file another name")
    images = list(plan)
    whole = total(plan, images)
    told = {
        "bundle": NAME,
        "machine": {
            "device": str(plan.pace.device),
            "bfloat16": bool(plan.inferer.half),
            "free_memory": free_memory(),
            "free_disk": free_space(plan.preparing.folder),
        },
        "refused": plan.refused or None,
        "images": [as_json(image) for image in images],
        "total": whole,
    }
    print("\n".join(lines(told)))
    if path:
        with atomic(path) as part:
            part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}")
    if whole["refused"]:
        several = f"{whole['refused']} of {whole['images']} images would be refused, see the lines above."
        cause = plan.refused or (images[0].refused if len(images) == 1 else several)
        print(f"error: {cause}", file=sys.stderr, flush=True)
        raise SystemExit(1)
    return told


def as_json(image: ImagePlan) -> dict[str, Any]:
    """Return the plan of an image, serializable as JSON."""
    scales = [{"shape": plan.grid, "tile": plan.core, "halo": plan.halo, "number": len(plan)} for plan in image.scales]
    told = {**asdict(image), "scales": scales, "tiles": image.tiles, "refused": image.refused or None}
    return {**told, "seconds": {step: round(taken, 3) for step, taken in image.seconds.items()}}


def total(plan: Plan, images: Sequence[ImagePlan]) -> dict[str, Any]:
    """Return the totals of a run: the largest memory of an image, and the disk space of all results and one scratch."""
    refused = len(images) if plan.refused else sum(bool(image.refused) for image in images)
    run = [] if plan.refused else [image for image in images if not image.refused]
    seconds = sum(sum(image.seconds.values()) for image in run)
    return {
        "images": len(images),
        "refused": refused or int(bool(plan.refused)),
        "tiles": sum(image.tiles for image in run),
        "start_seconds": round(plan.start, 3),
        "seconds": round(plan.start + seconds, 3),
        "device_memory": max((image.device_memory for image in run), default=0),
        "host_memory": max((image.host_memory for image in run), default=0),
        "disk": sum(image.result_bytes for image in run) + max((image.scratch for image in run), default=0),
    }


def lines(told: Mapping[str, Any]) -> Iterable[str]:
    """Yield a plan as text."""
    machine, whole = told["machine"], told["total"]
    kind = "bfloat16" if machine["bfloat16"] else "float32"
    yield (
        f"machine: {machine['device']}, {kind}; free are {size(machine['free_memory'])} of memory and "
        f"{size(machine['free_disk'])} of disk"
    )
    head = ("image", "voxels", "way", "tiles", "seconds", "device", "memory", "scratch", "result")
    rows = [head, *map(row, told["images"])]
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for cells in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    for image in told["images"]:
        if len(told["images"]) <= DETAILED and not image["refused"]:
            yield from details(image)
        if image["refused"]:
            yield f"refused: {image['refused']}"
    yield (
        f"total: {whole['images'] - whole['refused']} of {whole['images']} images, {whole['tiles']} tiles, "
        f"{duration(whole['seconds'])} (start and end {whole['start_seconds']:.1f} s), "
        f"{size(whole['device_memory'])} of the device, {size(whole['host_memory'])} of memory, "
        f"{size(whole['disk'])} of disk"
    )
    if whole["disk"] > machine["free_disk"]:
        yield f"note: all results together may take more than the {size(machine['free_disk'])} that the disk has"
    if told["refused"]:
        yield f"refused, all of it: {told['refused']}"


def row(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the table row of an image."""
    name = Path(image["image"]).name
    if image["refused"]:
        return (name, "", "refused", *[""] * 6)
    return (
        name,
        by(image["shape"]),
        "streamed" if image["streamed"] else "in memory",
        str(image["tiles"]),
        f"{sum(image['seconds'].values()):.1f}",
        *(size(image[key]) for key in ("device_memory", "host_memory", "scratch", "result_bytes")),
    )


def details(image: Mapping[str, Any]) -> Iterable[str]:
    """Yield scales, steps and notes of an image."""
    yield f"{Path(image['image']).name} -> {image['result']}"
    for number, scale in enumerate(image["scales"]):
        yield (
            f"  scale {number}: {by(scale['shape'])} voxels, {scale['number']} x {by(scale['tile'])} with "
            f"{by(scale['halo'])} around them"
        )
    yield "  seconds: " + ", ".join(f"{step} {taken:.1f}" for step, taken in image["seconds"].items())
    for note in image["notes"]:
        yield f"  note: {note}"


def by(sides: Sequence[int]) -> str:
    """Format the sides of an image."""
    return " x ".join(map(str, sides))


def size(number: float) -> str:
    """Format a number of bytes."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB"


def duration(seconds: float) -> str:
    """Format a duration."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
