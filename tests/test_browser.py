"""The report in a browser: it opens, sorts, filters, has pages, and loads nothing from outside."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from blemish.detection.decision import decide
from blemish.report.writer import ResultWriter, draw
from blemish.results import Verdict
from conftest import Tab
from test_report import NASTY_NAMES, THRESHOLD, make_inspection

N = 250
LIMITS = replace(THRESHOLD, unsure=replace(THRESHOLD, value=1.5, alpha=0.1, promised_alpha=0.1))
SCORES = np.random.default_rng(0).permutation(np.linspace(0.5, 3.0, N)).round(4).tolist()
NAMES = [f"part_{n}.png" for n in range(N)]  # 10 comes after 9 for people, before it for machines
NAMES[: len(NASTY_NAMES)] = NASTY_NAMES
VERDICTS = [decide(score, LIMITS) for score in SCORES]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with images of all verdicts, strange names, and a torn file."""
    folder = tmp_path_factory.mktemp("batch")
    usual = {"brightness": [0.4, 0.5, 0.6]}
    with ResultWriter(folder, model_name="plate", threshold=LIMITS, good_statistics=usual) as writer:
        writer.statistics = {"brightness": [0.5 + 0.001 * index for index in range(N)]}
        for index, (name, score, verdict) in enumerate(zip(NAMES, SCORES, VERDICTS, strict=True)):
            found = replace(make_inspection(f"shift_{index % 2}/{name}", score), verdict=verdict)
            writer.add(found.to_dict(), draw(found))
        writer.add({"path": "torn.png", "verdict": "error", "reason": "The file is empty."}, None)
    return folder / "report.html"


@pytest.fixture
def opened(tab: Tab, report: Path) -> Tab:
    tab.page.goto(report.as_uri())
    return tab


def column(tab: Tab, number: int) -> list[str]:
    """Return the texts of a column of the page that is shown."""
    return [text.strip() for text in tab.page.locator(f"table.results tbody td:nth-child({number})").all_inner_texts()]


def names(tab: Tab) -> list[str]:
    return tab.page.locator("table.results tbody td.file b").all_text_contents()


def scores(tab: Tab) -> list[float]:
    return [float(text.split()[0]) for text in column(tab, 4)]


def counted(tab: Tab) -> str:
    return tab.page.locator(".controls output").inner_text()


def all_pages(tab: Tab) -> list[str]:
    """Turn all pages from the first to the last, and return the names on them."""
    found = names(tab)
    while tab.page.get_by_role("button", name="Next").is_enabled():
        tab.page.get_by_role("button", name="Next").click()
        found += names(tab)
    return found


def test_it_opens_without_a_complaint(opened: Tab) -> None:
    expect(opened.page.get_by_role("heading", level=1)).to_have_text("plate")
    facts = dict(zip(*(opened.page.locator(f".facts {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))
    assert facts == {
        "images": str(N + 1),
        "not read": "1",
        **{verdict.value: str(VERDICTS.count(verdict)) for verdict in Verdict},
    }
    assert opened.complaints == []


def test_nothing_is_loaded_from_outside_nor_from_beside(opened: Tab, report: Path) -> None:
    all_pages(opened)
    assert [address for address in opened.requested if not address.startswith("data:")] == [report.as_uri()]
    assert opened.outside == []


def test_every_picture_is_shown_and_every_link_leads_to_a_file_beside_the_page(opened: Tab, report: Path) -> None:
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")  # all rows at once
    pictures = "[...document.images].map(i => [i.src.slice(0, 5), i.complete && i.naturalWidth > 0])"
    shown = opened.page.evaluate(pictures)
    n_compared = VERDICTS.count(Verdict.DEFECTIVE)
    assert shown == [["data:", True]] * (1 + 2 * N + n_compared)  # the legend, image and overlay each, comparisons
    addresses = opened.page.evaluate("[...document.querySelectorAll('[href]')].map(e => e.href)")
    parts = [urlsplit(address) for address in addresses]
    assert {part.scheme for part in parts} == {"file"}
    linked = {Path(unquote(part.path)) for part in parts}
    assert len(linked) == N
    assert linked == {path for path in (report.parent / "overlays").iterdir() if path.suffix == ".jpg"}


def test_a_page_that_asks_for_something_outside_is_caught(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text('<img src="http://blemish.invalid/a.png"><script>alert(1)</script>')
    tab.page.goto((tmp_path / "bad.html").as_uri())
    assert tab.outside == ["http://blemish.invalid/a.png"]
    assert "1" in tab.complaints


def test_the_page_itself_forbids_to_load_anything(opened: Tab) -> None:
    opened.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://blemish.invalid/a.png'}))")
    opened.page.wait_for_function("[...document.images].at(-1).complete")
    assert opened.outside == []
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_it_shows_a_hundred_rows_a_page_and_turns_them(opened: Tab) -> None:
    back, following = (opened.page.get_by_role("button", name=name) for name in ("Back", "Next"))
    assert (len(names(opened)), counted(opened)) == (100, f"1 to 100 of {N}")
    assert (back.is_disabled(), following.is_disabled()) == (True, False)
    assert sorted(all_pages(opened)) == sorted(NAMES)
    assert (len(names(opened)), counted(opened)) == (50, f"201 to 250 of {N}")
    assert (back.is_disabled(), following.is_disabled()) == (False, True)
    back.click()
    assert counted(opened) == f"101 to 200 of {N}"


def test_the_most_anomalous_comes_first_and_a_click_turns_the_order(opened: Tab) -> None:
    assert scores(opened) == pytest.approx(sorted(SCORES, reverse=True)[:100], abs=1e-3)
    head = opened.page.get_by_role("columnheader", name="Score")
    head.get_by_role("button").click()
    assert scores(opened) == pytest.approx(sorted(SCORES)[:100], abs=1e-3)
    assert head.get_attribute("aria-sort") == "ascending"


def test_files_are_sorted_as_people_count(opened: Tab) -> None:
    opened.page.get_by_role("searchbox").fill("part_")
    opened.page.get_by_role("columnheader", name="File").get_by_role("button").click()
    expected = [f"part_{n}.png" for n in range(len(NASTY_NAMES), N)]
    assert all_pages(opened) == expected
    opened.page.get_by_role("columnheader", name="File").get_by_role("button").click()
    assert all_pages(opened) == expected[::-1]


def test_it_is_sorted_by_the_keyboard_too(opened: Tab) -> None:
    opened.page.get_by_role("columnheader", name="Verdict").get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("th[aria-sort]").inner_text().startswith("Verdict")
    verdicts = dict(zip(NAMES, VERDICTS, strict=True))
    groups = [verdict for verdict, _ in groupby(verdicts[name] for name in all_pages(opened))]
    assert sorted(groups) == sorted(Verdict)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_it_filters_by_verdict(opened: Tab, verdict: Verdict) -> None:
    opened.page.get_by_role("combobox").select_option(verdict.value)
    assert sorted(all_pages(opened)) == sorted(n for n, v in zip(NAMES, VERDICTS, strict=True) if v is verdict)


def test_it_filters_by_parts_of_names_and_folders_and_verdict_at_once(opened: Tab) -> None:
    box = opened.page.get_by_role("searchbox")
    box.fill("PART_17")
    expected = [name for name in NAMES if "part_17" in name]
    assert sorted(names(opened)) == sorted(expected)
    assert counted(opened) == f"1 to {len(expected)} of {len(expected)}"
    opened.page.get_by_role("combobox").select_option("good")
    assert sorted(names(opened)) == sorted(n for n in expected if VERDICTS[NAMES.index(n)] is Verdict.GOOD)
    opened.page.get_by_role("combobox").select_option("")
    box.fill("shift_1")
    assert sorted(all_pages(opened)) == sorted(NAMES[1::2])
    box.fill("no such name")
    assert (names(opened), counted(opened)) == ([], "none")


def test_names_are_shown_letter_by_letter_and_run_nothing(opened: Tab) -> None:
    assert set(NASTY_NAMES) <= set(all_pages(opened))
    assert opened.complaints == []


def test_without_scripts_all_rows_and_all_charts_stand_there(browser: Browser, report: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        expect(page.locator("table.results tbody tr")).to_have_count(N)
        expect(page.locator(".controls")).to_be_hidden()
        expect(page.get_by_role("img", name="Control chart of brightness")).to_be_visible()


def test_dots_lie_inside_of_their_chart_from_left_to_right(opened: Tab) -> None:
    for name in ("score", "brightness"):
        chart = opened.page.get_by_role("img", name=f"Control chart of {name}")
        box = chart.bounding_box()
        assert box is not None
        dots = chart.evaluate(
            "c => [...c.querySelectorAll('circle')].map(d => d.getBoundingClientRect()).map(r => "
            "[r.x + r.width / 2, r.y + r.height / 2])"
        )
        assert len(dots) == 150
        across, down = np.array(dots).T
        assert (np.diff(across) > 0).all()
        assert (box["x"] <= across).all()
        assert (across <= box["x"] + box["width"]).all()
        assert (box["y"] - 1 <= down).all()
        assert (down <= box["y"] + box["height"] + 1).all()
    assert (np.diff(down) <= 0.01).all()  # the brightness rises from image to image


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_nothing_hangs_over_the_edge_of_the_screen(opened: Tab, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
