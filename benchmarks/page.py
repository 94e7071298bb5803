"""How heavy the report of a large batch is, and how a browser takes it.

    python benchmarks/page.py [--images 10000] [--side 256] [--repeats 3] [--json FILE]

Draws 50 images, inspects them over and over until there are as many as asked for, and opens the report in Chromium
without a window, which must be installed (`scripts/setup`). The limit is halved, so that most images are stopped and as
many pictures as the page ever shows are in it. Times are medians, from the call to the moment the page has changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from blemish.report.batch import inspect_batch
from figures import write_figures
from speed import drawn_images, small_detector, to_lines
from throughput import median_seconds

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def make_report(folder: Path, n_images: int, side: int) -> dict[str, float]:
    """Inspect a batch of so many images into ``out``, and return what it took and wrote."""
    detector = small_detector(folder / "good", side)
    detector = detector.with_threshold(detector.threshold.value / 2)
    drawn = drawn_images(folder / "drawn", 50, side)
    images = folder / "images"
    images.mkdir()
    for index in range(n_images):
        os.link(drawn[index % len(drawn)], images / f"{index:06}.jpg")
    started = time.perf_counter()
    counts = inspect_batch(detector, [images], folder / "out")
    return {
        "stopped": counts.defective,
        "inspecting, s": time.perf_counter() - started,
        "report.html, MB": (folder / "out" / "report.html").stat().st_size / 1e6,
        "report.pdf, MB": (folder / "out" / "report.pdf").stat().st_size / 1e6,
    }


def open_report(report: Path, repeats: int) -> dict[str, float]:
    """Time what someone does with the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        page = browser.new_page()
        seconds = median_seconds(_steps(page, report), repeats)
        browser.close()
    return {f"{name}, s": value for name, value in seconds.items()}


def _steps(page: Page, report: Path) -> dict[str, Callable[[], object]]:
    by_file = page.get_by_role("columnheader", name="File").get_by_role("button")
    return {
        "open": lambda: page.goto(report.as_uri()),
        "next page": lambda: page.get_by_role("button", name="Next").click(),
        "sort by file": by_file.click,
        "filter by name": lambda: page.get_by_role("searchbox").fill("99"),
        "filter by verdict": lambda: page.get_by_role("combobox").select_option("defective"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=256, help="pixels of the images")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = make_report(Path(name), arguments.images, arguments.side)
        figures |= open_report(Path(name) / "out" / "report.html", arguments.repeats)
    print("\n".join(to_lines({f"{arguments.images:,} images of {arguments.side} x {arguments.side}": figures})))
    write_figures(figures, arguments.json)


if __name__ == "__main__":
    main()
