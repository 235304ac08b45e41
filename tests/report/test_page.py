"""The page holds everything, runs nothing, and shows text as text."""

import re
from html.parser import HTMLParser

import pytest

from bundle.report.document import write_pdf
from bundle.report.facts import facts_of
from bundle.report.page import as_html
from bundle.report.slices import shown_rows
from tests.report.images import TOLD, chest, volume

EVIL = '<script>alert("$1")</script><img src=x onerror=y> $\\frac{1}{2}$ & {heading}'


@pytest.fixture(scope="module")
def report():
    told = {**TOLD, "warnings": [EVIL], "kernel": {**TOLD["kernel"], "source": EVIL, "target": EVIL, "about": EVIL}}
    source, result = volume(chest(-870)), volume(chest())
    facts = facts_of(source, result, True, provenance=told, truth=volume(chest(-865)))
    facts["noise"] = {
        "patches": 3,
        "frequencies_per_mm": [0.1, 0.2],
        "before": {"deviation_hu": 40.0, "power_hu2_mm2": [10.0, 900.0]},
        "after": {"deviation_hu": 10.0, "power_hu2_mm2": [9.0, 0.0]},
    }
    return facts, list(shown_rows(source, result, True))


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_nothing_is_fetched_or_run(report):
    page = Tags(as_html(*report))
    assert not {"script", "link", "iframe", "object", "form", "a", "base"} & set(page.tags)
    assert {value.split(";")[0] for name, value in page.attributes if name == "src"} == {
        "data:image/png",
        "data:image/svg+xml",
    }
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.open == [] and page.tags.count("img") == 3 * 4 + 2
    assert "://" not in re.sub(r'src="[^"]*"', "", as_html(*report))


def test_text_is_shown_as_text(report):
    page = Tags(as_html(*report))
    assert sum(EVIL in text for text in page.text) >= 3


def test_all_parts_are_there(report):
    text = " ".join(Tags(as_html(*report)).text)
    for part in (
        "Warnings (1)",
        "Slices",
        "Kernel and noise",
        "Lung densitometry",
        "Provenance",
        "not for clinical use",
    ):
        assert part in text
    assert "40.0 \N{RIGHTWARDS ARROW} 10.0" in text and "1.2.3" in text
    assert "No interval: it is not known how sure the kernels are." in text
    assert text.count("truth") >= 3 and "\N{MINUS SIGN}870.0" in text and "slice 13, 36 mm" in text


def test_the_same_report_is_the_same_page(report, tmp_path):
    assert as_html(*report) == as_html(*report)
    files = [tmp_path / name for name in ("a.pdf", "b.pdf")]
    for file in files:
        write_pdf(file, *report)
    assert files[0].read_bytes() == files[1].read_bytes() and files[0].read_bytes().startswith(b"%PDF")


def test_an_interval_is_shown_if_one_is_known(report):
    facts, rows = report
    limits = {"laa950_percent": [1.25, 2.5], "perc15_hu": [-951.2, -940.4]}
    lungs = {**facts["densitometry"], "interval_95": {"left": None, "right": limits, "both": limits}}
    text = " ".join(Tags(as_html({**facts, "densitometry": lungs}, rows)).text)
    assert "1.25 to 2.50" in text and "\N{MINUS SIGN}951 to \N{MINUS SIGN}940" in text
    assert "% of the lung; 95 %: 1.2 to 2.5" in text and "No interval" not in text
    assert text.count("1.25 to 2.50") == 2


@pytest.mark.parametrize("hu", [False, True])
def test_a_picture_out_of_noise_has_a_page_and_a_pdf(tmp_path, hu):
    result = volume(chest()[..., 5] if not hu else chest())
    facts, rows = facts_of(None, result, hu), list(shown_rows(None, result, hu))
    text = " ".join(Tags(as_html(facts, rows)).text)
    assert f"Generated {'CT' if hu else 'image'}" in text and "No warnings" in text and "source" not in text
    write_pdf(tmp_path / "a.pdf", facts, rows)
    assert (tmp_path / "a.pdf").stat().st_size > 5000


def test_many_warnings_take_more_pages(report, tmp_path):
    facts, rows = report
    sizes = []
    for count in (1, 400):
        write_pdf(tmp_path / "a.pdf", {**facts, "warnings": [f"warning {k}" for k in range(count)]}, rows)
        sizes.append((tmp_path / "a.pdf").read_bytes().count(b"/Type /Page "))
    assert sizes[0] == 2 and sizes[1] > 6


def test_a_kernel_without_a_name_is_told_in_words(report):
    facts, rows = report
    count = len(facts["kernel"]["frequencies_per_mm"])
    curves = [{"of": "target", "from": "the soft kernel", "gains": [1.0] * count, "half_gain_per_mm": None}]
    for source, target, title in (
        ("unnamed", "B30f", "Kernel found in the image \N{RIGHTWARDS ARROW} B30f"),
        ("B70f", "reference", "Kernel B70f \N{RIGHTWARDS ARROW} that of a reference"),
        (None, None, "Kernel found in the image \N{RIGHTWARDS ARROW} soft kernel"),
    ):
        kernel = {**facts["kernel"], "source": source, "target": target, "curves": curves}
        assert f"<h1>{title}</h1>" in as_html({**facts, "kernel": kernel}, rows)
