"""The viewer's page in headless Chromium shows and tells the voxels that are there, in all panels the same place.

`make test-viewer` brings what this needs; elsewhere it is skipped where something is missing.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from apps.viewer.server import NIIVUE
from bundle.examples.phantom import ThoraxPhantom

ROOT = Path(__file__).parents[2]
SHAPE, VIEW = (96, 80, 64), {"width": 1280, "height": 640}
NAMES = ("source", "result", "difference")
WINDOWS = {"1": (-1350, 150), "2": (-160, 240), "3": (-500, 1300)}
PLANES = {"a": (0, 1, 2), "c": (0, 2, 1), "s": (1, 2, 0)}  # axis to the left, axis upwards, axis of the slices
#: Draws without a graphics card.
SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
#: Where `make test-viewer` wants the picture; then nothing is skipped.
PICTURE = os.environ.get("VIEWER_PICTURE")


def chromium() -> str | None:
    """The browser that is named, or installed."""
    names = ("google-chrome", "chromium", "chromium-browser")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def lacking(browser: str | None) -> str:
    """What this test needs and does not find, and where it is to be had."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright: pip install -r requirements/viewer.txt, or make test-viewer"
    if not NIIVUE.exists():
        return "NiiVue: npm ci --prefix apps/viewer, or make test-viewer"
    if not browser:
        return "Chromium: install it, or name it in CHROMIUM"
    return ""


def heed() -> None:
    """Heed Ctrl-C, which what a shell starts in the background ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def viewer(source: Path, result: Path) -> Iterator[str]:
    """The link of a real viewer, which is ended as a user ends it."""
    command = [sys.executable, "-m", "apps.viewer", str(source), str(result), "--browser", "False"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert re.match(r"viewer +http://127\.0\.0\.1:\d+/\S+/ ", line), line
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(60) == 0
            finally:
                process.kill()


@pytest.fixture(scope="module")
def voxels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Source, result and difference in RAS, spacing, and the folder of the files."""
    phantom = ThoraxPhantom(SHAPE, noise=30)
    image = phantom[...]
    result = np.where(image > -400, image - 60, image + 90).astype(np.int16)  # body darker, lungs brighter
    folder = tmp_path_factory.mktemp("viewer")
    for name, array in (("source", image), ("result", result)):
        nibabel.Nifti1Image(array, phantom.affine).to_filename(folder / f"{name}.nii.gz")
    ras = [
        np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(a, phantom.affine)).dataobj)
        for a in (image, result)
    ]
    spacing = np.abs(np.diag(phantom.affine)[:3])
    return {"source": ras[0], "result": ras[1], "difference": ras[1] - ras[0], "spacing": spacing, "folder": folder}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if lack := lacking(path):
        (pytest.fail if PICTURE else pytest.skip)(f"the viewer's page is not tested for lack of {lack}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=SOFTWARE)
        yield started
        started.close()


@pytest.fixture(scope="module")
def loaded(browser: Any, voxels: dict[str, Any]) -> Iterator[Any]:
    """The page with all three images, and what it asked for and complained of."""
    with viewer(*(voxels["folder"] / f"{name}.nii.gz" for name in NAMES[:2])) as link:
        page = browser.new_page(viewport=VIEW)
        page.set_default_timeout(180_000)
        page.asked, page.complaints, page.link = [], [], link
        page.on("request", lambda request: page.asked.append(request.url))
        page.on(
            "console", lambda line: page.complaints.append(line.text) if line.type in ("warning", "error") else None
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(link)
        page.wait_for_selector("body[data-ready]")
        yield page
        page.close()


@pytest.fixture
def page(loaded: Any) -> Any:
    """The page as it starts, but for the slice."""
    loaded.mouse.move(1, 1)
    for key in "a10":
        loaded.keyboard.press(key)
    return loaded


def drawn(page: Any) -> None:
    """Wait until what was asked for is on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def place(page: Any) -> tuple[int, ...]:
    """The voxel that the page says its crosshair is in."""
    drawn(page)
    found = re.search(r"voxel (\d+) (\d+) (\d+)", page.inner_text("#place"))
    assert found
    return tuple(map(int, found.groups()))


def values(page: Any) -> list[str]:
    """What stands above the three panels, with a plain minus."""
    return [page.inner_text(f"#{name} output").replace("\N{MINUS SIGN}", "-") for name in NAMES]


def told(page: Any) -> list[int]:
    """The HU of the three panels."""
    drawn(page)
    return [int(text.removesuffix(" HU")) for text in values(page)]


def hu(voxels: dict[str, Any], voxel: tuple[int, ...]) -> list[int]:
    return [int(voxels[name][voxel]) for name in NAMES]


class Frame:
    """Where the voxels of a plane lie on a canvas: as large as fits, in the middle, the patient's right on the left."""

    def __init__(self, page: Any, name: str, voxels: dict[str, Any], plane: str = "a") -> None:
        self.axes = PLANES[plane]
        self.box = page.locator(f"#{name} canvas").bounding_box()
        self.size = self.box["width"], self.box["height"]
        self.sides = [SHAPE[axis] for axis in self.axes[:2]]
        self.pixels = voxels["spacing"][list(self.axes[:2])]  # a voxel, in mm, and then in pixels
        self.pixels = self.pixels * min(
            w / (n * mm) for w, n, mm in zip(self.size, self.sides, self.pixels, strict=True)
        )

    def voxel_at(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Coordinates along the two axes of pixels, whole numbers in the middle of voxels."""
        fall = [self.size[0] / 2 - x, self.size[1] / 2 - y]
        return [d / px + (n - 1) / 2 for d, px, n in zip(fall, self.pixels, self.sides, strict=True)]

    def pixel_of(self, voxel: tuple[int, ...]) -> tuple[float, float]:
        """Where on the page the middle of a voxel is."""
        fall = [(voxel[a] - (n - 1) / 2) * px for a, n, px in zip(self.axes, self.sides, self.pixels, strict=False)]
        return self.box["x"] + self.size[0] / 2 - fall[0], self.box["y"] + self.size[1] / 2 - fall[1]


def picture(page: Any, name: str) -> np.ndarray:
    """What a panel shows, `(row, column, 3)`, without the letters of its sides."""
    drawn(page)
    return np.asarray(Image.open(io.BytesIO(page.locator(f"#{name} canvas").screenshot())).convert("RGB"), np.float32)


def grey(image: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    return np.clip((image - window[0]) / (window[1] - window[0]), 0, 1) * 255


def sampled(frame: Frame, image: np.ndarray, index: int, shape: tuple[int, ...], order: int) -> np.ndarray:
    """A slice as a canvas of such a shape shows it, NaN beside it."""
    plane = np.moveaxis(image, frame.axes, (0, 1, 2))[..., index].astype(np.float32)
    y, x = np.indices(shape) + 0.5
    return map_coordinates(plane, frame.voxel_at(x, y), order=order, mode="grid-constant", cval=np.nan)


def test_what_is_told_are_the_voxels(page: Any, voxels: dict[str, Any]) -> None:
    for key, name, voxel in (
        ("a", "source", (30, 41, 32)),
        ("c", "result", (61, 41, 20)),
        ("s", "difference", (61, 25, 50)),
    ):
        page.keyboard.press(key)
        drawn(page)
        page.mouse.click(*Frame(page, name, voxels, key).pixel_of(voxel))
        slices = PLANES[key][2]
        clicked = place(page)
        assert [c for axis, c in enumerate(clicked) if axis != slices] == [
            c for axis, c in enumerate(voxel) if axis != slices
        ]
        assert told(page) == hu(voxels, clicked)
    assert len(set(told(page))) == 3

    before = place(page)
    other = (before[0], 60, 12)  # hovered, not clicked: the crosshair stays
    page.mouse.move(*Frame(page, "source", voxels, "s").pixel_of(other))
    assert told(page) == hu(voxels, other) != hu(voxels, before)
    assert place(page) == before
    page.mouse.move(1, 1)
    assert told(page) == hu(voxels, before)


def test_keyboard_wheel_and_slider_move_all_panels(page: Any, voxels: dict[str, Any]) -> None:
    x, y, z = place(page)
    for keys, expected in (
        (["PageUp"], (x, y, z + 1)),
        (["ArrowRight", "ArrowUp"], (x - 1, y + 1, z + 1)),
        (["c", "PageDown", "PageDown", "ArrowDown"], (x - 1, y - 1, z)),
        (["s", "ArrowLeft", "PageUp"], (x, y, z)),
    ):
        for key in keys:
            page.keyboard.press(key)
        assert place(page) == expected
        assert told(page) == hu(voxels, expected)
    assert page.get_attribute("[data-plane=sagittal]", "aria-pressed") == "true"
    page.locator("#result canvas").hover()
    page.mouse.wheel(0, 100)
    page.mouse.move(1, 1)
    assert place(page) == (x - 1, y, z)
    page.locator("#slice").fill("7")
    assert place(page) == (7, y, z)
    assert page.get_attribute("#slice", "aria-valuetext") == "sagittal slice 8 of 96"
    page.locator("#slice").fill(str(x))


def test_what_is_shown_are_the_voxels_in_the_window(page: Any, voxels: dict[str, Any]) -> None:
    page.keyboard.press("x")  # without the crosshair
    for plane, preset in (("a", "1"), ("c", "2"), ("s", "3"), ("c", "1")):
        page.keyboard.press(plane)
        page.keyboard.press(preset)
        index = place(page)[PLANES[plane][2]]
        assert [page.input_value("#level"), page.input_value("#width")] == [
            f"{sum(WINDOWS[preset]) // 2}",
            f"{WINDOWS[preset][1] - WINDOWS[preset][0]}",
        ]
        for name in NAMES[:2]:
            frame, shown = Frame(page, name, voxels, plane), picture(page, name)
            expected = sampled(frame, grey(voxels[name], WINDOWS[preset]), index, shown.shape[:2], 1)
            inside = ~np.isnan(expected)
            assert inside.mean() > 0.4
            assert np.abs(shown - expected[..., None])[inside].mean() < 3, (plane, preset, name)
        frame, shown = Frame(page, "difference", voxels, plane), picture(page, "difference")
        change = sampled(frame, voxels["difference"], index, shown.shape[:2], 0)
        assert np.median((shown[..., 0] - shown[..., 2])[change == 90]) > 60  # red where the result is brighter
        assert np.median((shown[..., 2] - shown[..., 0])[change == -60]) > 60
    page.keyboard.press("x")


def test_the_lungs_are_dark_and_the_body_is_bright(page: Any, voxels: dict[str, Any]) -> None:
    index = place(page)[2]
    for name in NAMES[:2]:
        frame, shown = Frame(page, name, voxels), picture(page, name)
        hounsfield = sampled(frame, voxels["source"], index, shown.shape[:2], 0)
        lung, body = (hounsfield > -930) & (hounsfield < -750), (hounsfield > -50) & (hounsfield < 100)
        assert lung.mean() > 0.1 and body.mean() > 0.1
        assert np.median(shown[lung]) < 110 and np.median(shown[body]) > 180
    if PICTURE:
        Path(PICTURE).parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE)


def test_zoom_and_pan_keep_the_panels_together(page: Any, voxels: dict[str, Any]) -> None:
    z = place(page)[2]
    spot = (30, 50, z)
    x, y = Frame(page, "source", voxels).pixel_of(spot)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    for _ in range(4):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    assert told(page) == hu(voxels, spot)  # what is under the pointer stays there
    page.mouse.down(button="right")
    page.mouse.move(x + 40, y + 25, steps=3)
    page.mouse.up(button="right")
    for name in NAMES:
        left = Frame(page, name, voxels).pixel_of(spot)[0] - x
        page.mouse.move(x + left + 41, y + 26)
        assert told(page) == hu(voxels, spot), name
    frame = Frame(page, "source", voxels)
    page.keyboard.press("0")
    drawn(page)
    page.mouse.move(*frame.pixel_of((20, 20, z)))
    assert told(page) == hu(voxels, (20, 20, z))


def test_nothing_comes_from_elsewhere_and_nothing_is_complained_of(page: Any) -> None:
    assert {f"{page.link}{name}" for name in ("niivue.js", "difference.nii")} <= set(page.asked)
    assert all(url.startswith((page.link, "data:", "blob:")) for url in page.asked)
    assert page.complaints == []


def test_an_image_that_cannot_be_read_is_told_of(browser: Any, voxels: dict[str, Any]) -> None:
    whole = voxels["folder"] / "source.nii.gz"
    broken = voxels["folder"] / "broken.nii.gz"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    with viewer(whole, broken) as link, browser.new_page(viewport=VIEW) as page:
        page.set_default_timeout(180_000)
        page.goto(link)
        page.wait_for_selector("body[data-ready]")
        assert page.inner_text("#source .message") == ""
        for name in NAMES[1:]:
            told = page.inner_text(f"#{name} [role=alert]")
            assert re.match(f"The {name} cannot be shown: .*\\w", told) and "network" not in told, told


def test_other_images_than_ct_are_shown_whole(browser: Any, tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 24 * 20 * 16, dtype=np.float32).reshape(24, 20, 16)
    files = [tmp_path / "source.nii", tmp_path / "result.nii"]
    for file, image in zip(files, (ramp, ramp**2), strict=True):
        nibabel.Nifti1Image(image, np.eye(4)).to_filename(file)
    with viewer(*files) as link, browser.new_page(viewport=VIEW) as page:
        page.set_default_timeout(180_000)
        page.goto(link)
        page.wait_for_selector("body[data-ready]")
        drawn(page)
        middle = ramp[12, 10, 8]
        np.testing.assert_allclose(
            [float(text) for text in values(page)], [middle, middle**2, middle**2 - middle], rtol=1e-3
        )
        assert page.input_value("#width") == "1" and page.is_disabled("[data-preset=lung]")
        assert page.get_attribute("[data-preset=full]", "aria-pressed") == "true"
