"""The PDF is one that readers accept, and its text fits."""

import io
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pypdf
import pytest

from blemish.report.overlay import encode_jpeg
from blemish.report.pdf import PAGE_HEIGHT, PAGE_WIDTH, Jpeg, Page, fitted, text_width, wrapped

INK = (0.0, 0.0, 0.0)
MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NASTY_TEXTS = ["a (b) \\c", "Prüfling 部品", "line\nbreak\ttab", "\udcff", "", "e\u0301", "x" * 500, "<</Root>>"]


def read(page: Page, title: str = "t") -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(page.to_bytes(title, MADE)), strict=True)


def widths_of(font: str) -> dict[str, float]:
    """Read how wide letters are from Adobe's own table, which Matplotlib brings along."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "pdfcorefonts"
    lines = (folder / f"{font}.afm").read_text(encoding="latin-1").splitlines()
    fields = [line.split() for line in lines if line.startswith("C ")]
    letters = {"quotesingle": "'", "grave": "`"}
    known = {letters.get(names[7], chr(int(names[1]))): float(names[4]) for names in fields if int(names[1]) > 0}
    return {letter: width for letter, width in known.items() if " " <= letter <= "~"}


@pytest.mark.parametrize("size", [1, 7.5, 1000])
def test_letters_are_as_wide_as_the_font_has_them(size: float) -> None:
    widths = widths_of("Helvetica")
    assert {text: text_width(text, size) for text in widths} == pytest.approx(
        {text: size * width / 1000 for text, width in widths.items()}
    )
    assert text_width("Wé", size) == pytest.approx(text_width("We", size))


def test_bold_words_are_not_wider_than_they_count() -> None:
    widths = widths_of("Helvetica-Bold")
    for word in ("threshold 1.855", "What was stopped", "transistor", "filling_till.jpg", "00123.png", "WORN"):
        assert sum(widths[letter] for letter in word) / 100 <= text_width(word, 10, bold=True)


@pytest.mark.parametrize("text", NASTY_TEXTS)
def test_any_text_can_be_written_and_found(text: str) -> None:
    page = Page()
    page.text(50, 50, text, 9, INK)
    page.text(50, 70, "after", 9, INK, bold=True)
    found = read(page, title=text).pages[0].extract_text()
    assert "after" in found
    if text.isascii() and text.isprintable():
        assert text in found


def test_letters_that_the_fonts_lack_are_spelled_out() -> None:
    page = Page()
    page.text(50, 50, "Prüfling 部品", 9, INK)
    assert read(page).pages[0].extract_text() == "Prüfling \\u90e8\\u54c1"


@pytest.mark.parametrize("text", NASTY_TEXTS)
@pytest.mark.parametrize("width", [20, 100, 400])
def test_fitted_text_fits_and_keeps_its_end(text: str, width: float) -> None:
    shown = fitted(text, 9, width)
    assert text_width(shown, 9) <= width
    assert fitted(text, 9, 1e9).endswith(shown.removeprefix("…"))


def test_a_text_is_broken_between_words_and_nothing_of_it_is_lost() -> None:
    text = "At most 1 in 20 good parts will be stopped, judging from 43 held-out good images. " * 5
    lines = wrapped(text, 9, 200)
    assert all(text_width(line, 9) <= 200 for line in lines)
    assert " ".join(lines) == text.strip()
    assert all(text_width(f"{a} {b.split()[0]}", 9) > 200 for a, b in pairwise(lines))


def test_a_word_that_is_too_wide_is_cut() -> None:
    assert all(text_width(line, 9) <= 60 for line in wrapped("a " + "w" * 99 + " b", 9, 60))


def test_pictures_lie_in_the_file_as_they_are() -> None:
    page = Page()
    grey = encode_jpeg(np.zeros((5, 8), np.uint8), 75)
    coloured = encode_jpeg(np.full((6, 4, 3), (255, 0, 0), np.uint8), 95)
    page.picture(10, 10, 80, Jpeg(grey, height=5, width=8, is_grey=True))
    page.picture(10, 100, 40, Jpeg(coloured, height=6, width=4, is_grey=False))
    data = page.to_bytes("t", MADE)
    assert grey in data
    assert coloured in data
    first, second = read(page).pages[0].images
    assert (first.image.size, second.image.size) == ((8, 5), (4, 6))
    assert np.abs(np.array(second.image.convert("RGB")) - np.array([255.0, 0, 0])).max() < 8


def test_it_is_one_page_of_a4_with_title_and_date() -> None:
    page = Page()
    page.rectangle(10, 10, 30, 20, INK)
    page.line((0, 0), (50, 50), INK, dash=3)
    found = read(page, title="Prüfung 部品")
    assert len(found.pages) == 1
    assert tuple(found.pages[0].mediabox[2:]) == (PAGE_WIDTH, PAGE_HEIGHT)
    assert found.metadata is not None
    assert (found.metadata.title, found.metadata.creation_date) == ("Prüfung 部品", MADE.replace(tzinfo=None))
