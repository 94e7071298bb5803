"""The pages of the station in a browser: teach, inspect, decide, move the threshold, draw zones, read the audit log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Route, expect

from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.images import write_image
from blemish.report.overlay import encode_jpeg
from blemish.results import Verdict
from blemish.station import pages
from blemish.station.api import showing
from blemish.station.app import create_app
from blemish.station.people import Role
from blemish.station.station import Station
from blemish.station.store import Filter, NewInspection
from blemish.station.texts import Texts, languages, texts_for
from conftest import Tab

PART = "plate +7"  # what an address has to be careful with
HERE = Path(pages.__file__).parent
N_GOOD = 24
expect.set_options(timeout=30_000)  # ms; a page that is right shows it at once, unless the machine has too much to do


@dataclass
class Line:
    """A station that is served, and images to show it."""

    station: Station
    address: str
    images: Path

    def page(self, path: str) -> str:
        return f"{self.address}{path}"

    def part(self, name: str) -> str:
        return self.page(f"/parts/plate%20%2B7/{name}")

    def files(self, kind: str, *numbers: int) -> list[Path]:
        return [self.images / f"{kind}-{number}.png" for number in numbers]


def draw(folder: Path) -> None:
    rng = np.random.default_rng(3)
    surface = SURFACES["brushed_metal"](rng)
    for index in range(N_GOOD + 4):
        write_image(folder / f"good-{index}.png", draw_surface(surface, rng, 128, 160))
    for index in range(3):
        image, _ = FLAWS["stain"](draw_surface(surface, rng, 128, 160), rng)
        image[30:70, 50:100] = rng.random((40, 50), dtype=np.float32)
        write_image(folder / f"bad-{index}.png", image)
    (folder / "torn.png").write_bytes((folder / "good-0.png").read_bytes()[:200])


class Served:
    """A station behind a port of this machine, in a thread."""

    def __init__(self, station: Station) -> None:
        config = uvicorn.Config(create_app(station), port=0, log_level="error", ws="none", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.01)
            assert self.thread.is_alive()
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A station that is empty when the first test begins; the tests follow each other like a day at the line."""
    folder = tmp_path_factory.mktemp("line")
    draw(folder / "images")
    with Station(folder / "station", workers=1) as station, Served(station) as address:
        yield Line(station, address, folder / "images")


def choose(tab: Tab, files: list[Path]) -> None:
    tab.page.locator("input[type=file]").first.set_input_files(files)


def newest(line: Line) -> str:
    return line.station.store.inspections(limit=1)[0].id


def at_ease(tab: Tab) -> None:
    """Nothing was loaded from elsewhere, and neither a script nor the content policy complained."""
    assert tab.outside == []
    assert tab.complaints == []


# ---------------------------------------------------------------------------------------------------- a day at the line


def test_an_empty_station_offers_the_demo_and_takes_a_part(tab: Tab, line: Line) -> None:
    tab.page.goto(line.page("/"))
    expect(tab.page.get_by_role("button", name="Make the demo part")).to_be_enabled()
    tab.page.get_by_label("Name of the part").fill("/")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".problem", has_text="cannot be the name of a part")).to_be_visible()
    assert any("422" in complaint for complaint in tab.complaints)  # the browser notes each answer that is an error
    tab.complaints.clear()
    tab.page.get_by_label("Name of the part").fill(PART)
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(PART)
    expect(tab.page.get_by_role("button", name="Start teaching")).to_be_disabled()
    at_ease(tab)


def test_a_part_is_taught_from_dropped_images(tab: Tab, line: Line) -> None:
    tab.page.goto(line.part("teach"))
    choose(tab, [*line.files("good", *range(N_GOOD)), line.images / "torn.png"])
    expect(tab.page.locator("#upload .problem")).to_contain_text("torn.png")
    expect(tab.page.locator("#upload .done")).to_have_text(f"{N_GOOD} of {N_GOOD + 1} are there.")
    tab.page.reload()
    expect(tab.page.locator(".good-images li")).to_have_count(N_GOOD)
    tab.page.get_by_role("button", name="Leave out good-23.png").click()
    expect(tab.page.get_by_role("button", name="Use good-23.png again")).to_be_focused()
    tab.page.get_by_label("Share of good parts that may be stopped").fill("0.05")
    tab.page.get_by_role("button", name="Start teaching").click()
    expect(tab.page.get_by_role("heading", name="Teaching: Quick")).to_be_visible()
    expect(tab.page.locator("p.done", has_text="Done.")).to_be_visible(timeout=60_000)
    expect(tab.page.get_by_text("good parts will be stopped").first).to_be_visible()
    assert line.station.store.model(PART).summary["n_learned"] <= N_GOOD - 1
    at_ease(tab)


def test_parts_are_inspected_and_the_verdict_is_word_shape_and_colour(tab: Tab, line: Line) -> None:
    tab.page.goto(line.page("/"))
    expect(tab.page.locator(".big")).to_contain_text("Ready")
    expect(tab.page.locator("#connection")).to_have_text("Live")
    tab.page.get_by_text("Inspect images by hand").click()
    tab.page.get_by_label("Part number").fill("A-1")
    for kind, word in (("good", "Good"), ("bad", "Defective")):
        choose(tab, line.files(kind, {"good": N_GOOD, "bad": 0}[kind]))
        big = tab.page.locator(f".big.{word.lower()}")
        expect(big.locator("b")).to_have_text(word)
        expect(big.locator("use")).to_have_attribute("href", f"/static/icons.svg#{word.lower()}")
        expect(big).to_contain_text("A-1")
    height = tab.page.evaluate("parseFloat(getComputedStyle(document.querySelector('.big b')).fontSize)")
    assert height >= 64  # letters of 12 mm and more at 96 pixels an inch: read from three metres
    expect(tab.page.locator(".strip li")).to_have_count(1)
    at_ease(tab)


def test_the_live_page_follows_the_line_without_being_loaded_anew(tab: Tab, line: Line) -> None:
    tab.page.goto(line.page("/"))
    expect(tab.page.locator("#connection")).to_have_text("Live")
    tab.page.evaluate("window.stays = true")
    line.station.inspector.inspect(PART, line.files("bad", 1)[0].read_bytes(), part_id="B-2", lot_id="L<b>1</b>")
    expect(tab.page.locator(".big")).to_contain_text("B-2")
    expect(tab.page.get_by_text("L<b>1</b>")).to_be_visible()
    assert tab.page.evaluate("window.stays") is True
    at_ease(tab)


def test_the_heat_map_is_switched_by_the_keyboard_and_stays_off(tab: Tab, line: Line) -> None:
    tab.page.goto(line.page("/"))
    picture, key = tab.page.locator(".stage img"), newest(line)
    expect(picture).to_have_attribute("src", f"/api/v1/inspections/{key}/picture")
    button = tab.page.get_by_role("button", name="Heat map")
    button.focus()
    tab.page.keyboard.press("Space")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(picture).to_have_attribute("src", f"/api/v1/inspections/{key}/image?side=1280")
    tab.page.reload()
    expect(tab.page.locator(".stage img")).to_have_attribute("src", f"/api/v1/inspections/{key}/image?side=1280")
    at_ease(tab)


def test_one_inspection_shows_where_and_why_and_is_overruled(tab: Tab, line: Line) -> None:
    key = newest(line)
    tab.page.goto(line.page(f"/inspections/{key}"))
    region = tab.page.locator("[data-region]").first
    region.click()
    expect(tab.page.locator("#region-1")).to_be_visible()
    for name in ("Map alone", "Image alone", "Heat map"):
        tab.page.get_by_role("button", name=name).click()
        expect(tab.page.locator("#shown")).to_have_js_property("complete", True)
        assert tab.page.evaluate("document.querySelector('#shown').naturalWidth") > 0
    expect(tab.page.get_by_alt_text("The worst place of this part")).to_be_visible()
    tab.page.get_by_label("Comment").fill("Only dirt <script>alert(1)</script>")
    tab.page.get_by_role("button", name="Overrule: Good").click()
    expect(tab.page.locator(".big.good")).to_contain_text("by a person; the model said Defective")
    expect(tab.page.get_by_text("Only dirt <script>alert(1)</script>")).to_be_visible()
    assert line.station.store.inspection(key).final == "good"
    tab.page.get_by_role("button", name="Confirm: Defective").click()
    expect(tab.page.locator(".said li")).to_have_count(2)
    tab.page.get_by_role("link", name="Part before").click()
    expect(tab.page).not_to_have_url(re.compile(key))
    at_ease(tab)


def test_the_history_filters_and_has_pages(tab: Tab, line: Line) -> None:
    good = line.files("good", N_GOOD + 1)[0].read_bytes()
    for index in range(51):
        line.station.inspector.inspect(PART, good, lot_id="many", part_id=str(index))
    tab.page.goto(line.page("/history"))
    tab.page.get_by_label("Lot").fill("many")
    tab.page.get_by_role("button", name="Filter").click()
    assert urlsplit(tab.page.url).query == "lot_id=many"
    rows = tab.page.locator("tbody tr")
    expect(rows).to_have_count(50)
    tab.page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(1)
    expect(tab.page.get_by_role("link", name="Older")).to_have_count(0)
    tab.page.get_by_role("link", name="Newer").click()
    expect(rows).to_have_count(50)
    tab.page.goto(line.page("/history?final=defective"))
    expect(rows).to_have_count(line.station.store.count(Filter())["defective"])
    with tab.page.expect_download() as table:
        tab.page.get_by_role("link", name="Save as CSV").click()
    assert len(table.value.path().read_text().splitlines()) == 1 + rows.count()
    at_ease(tab)


def test_the_threshold_is_tried_by_a_slider_and_moved_with_a_reason(tab: Tab, line: Line) -> None:
    before = line.station.store.model(PART)
    tab.page.goto(line.part("threshold"))
    expect(tab.page.locator("#histogram rect.defective").first).to_be_visible()
    stopped = tab.page.locator("#at-stopped")
    n = sum(line.station.store.count(Filter(part=PART)).values())
    slider = tab.page.get_by_label("Try another threshold")
    slider.focus()
    slider.press("Home")
    expect(stopped).to_have_text(f"{n} of {n}")
    slider.press("ArrowRight")
    form = tab.page.locator("#set-value")
    form.get_by_label("Threshold").fill(f"{2 * before.summary['threshold']['value']:.4f}")
    form.get_by_label("Reason").fill("too many stops")
    form.get_by_role("button").click()
    expect(form.locator(".done")).to_be_visible()
    after = line.station.store.model(PART)
    assert (after.parent, after.origin, after.why) == (before.version, "threshold", "too many stops")
    assert after.summary["threshold"]["value"] == pytest.approx(2 * before.summary["threshold"]["value"], abs=1e-4)
    at_ease(tab)


def test_a_threshold_by_hand_keeps_the_lower_limit_that_was_just_set(tab: Tab, line: Line) -> None:
    tab.page.goto(line.part("threshold"))
    by_rate, by_hand = tab.page.locator("form:has([name=alpha])"), tab.page.locator("#set-value")
    for name, value in (("alpha", "0.1"), ("unsure", "0.3")):
        by_rate.locator(f"[name={name}]").fill(value)
    by_rate.get_by_role("button").click()
    expect(by_rate.locator(".done")).to_be_visible()
    expect(by_hand.locator("[name=unsure]")).to_have_value("0.3")
    by_hand.get_by_role("button").click()
    expect(by_hand.locator(".done")).to_be_visible()
    assert line.station.store.model(PART).summary["threshold"]["unsure"]["alpha"] == 0.3
    at_ease(tab)


def draw_a_zone(tab: Tab, *corners: tuple[float, float]) -> Locator:
    """Click corners, as shares of the image; return the image."""
    canvas = tab.page.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for x, y in (*corners, corners[0]):  # the first corner again closes it
        tab.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    return canvas


def test_a_zone_is_drawn_by_mouse_and_one_by_keys_and_both_are_kept(tab: Tab, line: Line) -> None:
    tab.page.goto(line.part("threshold"))
    canvas = draw_a_zone(tab, (0.05, 0.05), (0.3, 0.05), (0.3, 0.2))
    expect(tab.page.locator(".zone-list li")).to_have_count(1)
    canvas.focus()
    for keys in (["Shift+ArrowDown"] * 3, ["Shift+ArrowRight"] * 3, ["ArrowUp"] * 9):
        for key in keys:
            tab.page.keyboard.press(key)
        tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("c")
    expect(tab.page.locator(".zone-list li")).to_have_count(2)
    tab.page.get_by_role("button", name="Corner 1 of zone 2").focus()
    tab.page.keyboard.press("ArrowLeft")
    expect(tab.page.get_by_role("button", name="Corner 1 of zone 2")).to_be_focused()
    tab.page.locator("#set-zones").get_by_label("Reason").fill("label")
    tab.page.get_by_role("button", name="Set zones").click()
    anew = tab.page.get_by_role("button", name="Teach anew with these zones")
    expect(anew).to_be_visible()  # few images: all of them are learned from, and the limit cannot be set anew
    tab.complaints.clear()
    anew.click()
    expect(tab.page.locator("p.done", has_text="Done.")).to_be_visible(timeout=60_000)
    zones = line.station.store.model(PART).summary["zones"]
    assert np.round(zones[0], 2).tolist() == [[0.05, 0.05], [0.3, 0.05], [0.3, 0.2]]
    assert np.round(zones[1], 2).tolist() == [[0.49, 0.8], [0.8, 0.8], [0.8, 0.71]]
    tab.page.goto(line.part("threshold"))
    expect(tab.page.locator(".zone-list li")).to_have_count(2)
    at_ease(tab)


def test_a_zone_that_is_drawn_before_the_others_have_come_is_kept(tab: Tab, line: Line) -> None:
    asked: list[Route] = []
    tab.page.route("**/api/v1/parts/*/zones", lambda route: asked.append(route))
    tab.page.goto(line.part("threshold"))
    draw_a_zone(tab, (0.5, 0.5), (0.7, 0.5), (0.7, 0.7))
    expect(tab.page.locator(".zone-list li")).to_have_count(1)
    asked[0].fulfill(json={"polygons": [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]]]})
    expect(tab.page.locator(".zone-list li")).to_have_count(2)
    at_ease(tab)


def test_versions_are_compared_activated_and_rolled_back(tab: Tab, line: Line) -> None:
    tab.page.goto(line.part("models"))
    active = line.station.store.model(PART).version
    tab.page.get_by_role("button", name="Compare").click()
    expect(tab.page.locator("#compared tbody tr")).to_have_count(20)
    tab.page.get_by_role("button", name="Activate", exact=True).last.click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("back to the first")
    tab.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert line.station.store.model(PART).version == active  # left with Escape: nothing is done
    tab.page.get_by_role("button", name="Activate", exact=True).last.click()
    dialog.get_by_label("Reason").fill("back to the first")
    dialog.get_by_role("button", name="Do it").click()
    expect(tab.page.get_by_text("back to the first").first).to_be_visible()
    assert line.station.store.model(PART).version == 1
    tab.page.get_by_role("button", name="Roll back").click()
    dialog.get_by_role("button", name="Do it").click()
    expect(tab.page.get_by_text("Rolled back.")).to_be_visible()
    assert line.station.store.model(PART).version == active
    at_ease(tab)


def test_the_drift_page_charts_the_score_and_what_a_camera_fault_would_change(tab: Tab, line: Line) -> None:
    line.station.store.activate(PART, 1, who="local")
    tab.page.goto(line.part("drift"))
    expect(tab.page.get_by_role("img", name="Control chart of Brightness")).to_be_visible()
    expect(tab.page.get_by_role("img", name="Control chart of Score")).to_be_visible()
    at_ease(tab)


def test_the_audit_log_tells_the_day_and_its_chain_holds(tab: Tab, line: Line) -> None:
    tab.page.goto(line.page("/audit"))
    log = tab.page.locator("#log")
    for what in ("Model activated", "Model rolled back", "Teaching done", "Verdict overruled"):
        expect(log.get_by_text(what).first).to_be_visible()
    expect(log.get_by_text("too many stops").first).to_be_visible()
    tab.page.get_by_role("button", name="Verify the chain").click()
    expect(tab.page.get_by_role("status")).to_contain_text("The chain holds")
    tab.page.get_by_label("What").fill("decision.")
    tab.page.get_by_role("button", name="Filter").click()
    expect(tab.page.locator("#log tbody tr")).to_have_count(2)
    at_ease(tab)


def test_sources_sinks_and_retention_are_set(tab: Tab, line: Line, tmp_path: Path) -> None:
    tab.page.goto(line.page("/settings"))
    tab.page.get_by_text("Add a sink").click()
    sinks = tab.page.locator("#sinks")
    expect(sinks.get_by_label("Topic")).to_be_hidden()
    sinks.get_by_label("Name").fill("archive")
    sinks.get_by_label("Folder", exact=True).last.fill(str(tmp_path))
    sinks.get_by_role("button", name="Add").click()
    expect(sinks.get_by_text("0 results wait")).to_be_visible()
    sinks.get_by_role("button", name="Remove archive").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Do it").click()
    expect(sinks.get_by_text("Results stay on this station")).to_be_visible()
    tab.page.get_by_label("Keep images for days").fill("30")
    tab.page.get_by_label("Keep images up to GB").fill("2.5")
    tab.page.get_by_role("button", name="Set retention").click()
    expect(tab.page.locator("#retention .done")).to_be_visible()
    kept = {"image_days": 30, "image_bytes": 2_500_000_000, "record_days": None}
    assert line.station.store.setting("retention") == kept
    at_ease(tab)


PAGES = (
    "/",
    "/history",
    "/parts",
    "/audit",
    "/settings",
    *(f"/parts/plate%20%2B7/{name}" for name in ("teach", "threshold", "models", "drift")),
)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_no_page_is_wider_than_the_screen_and_all_that_is_touched_is_large(
    browser: Browser, line: Line, width: int, scheme: str
) -> None:
    small = """[...document.querySelectorAll('button, select, input, summary, nav a, a.button, a.row-link')]
        .filter(e => e.checkVisibility() && !['checkbox', 'radio', 'file'].includes(e.type))
        .filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"""
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page = context.new_page()
        for path in (*PAGES, f"/inspections/{newest(line)}"):
            page.goto(line.page(path))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate(small) == [], path


def test_on_a_phone_the_verdict_stands_above_the_picture(browser: Browser, tmp_path: Path) -> None:
    picture = encode_jpeg(np.full((600, 800), 128, np.uint8), 85)
    with Station(tmp_path / "station", workers=1) as station, Served(station) as address:
        station.store.add_part("plate", who="test")
        station.store.add_model("plate", b"model", origin="upload", who="test")
        station.store.add_inspection(
            NewInspection(
                part="plate",
                version=1,
                model_sha256="",
                data=picture,
                suffix=".jpg",
                verdict=Verdict.DEFECTIVE,
                score=2.0,
                threshold=1.0,
                result={"regions": []},
                picture=picture,
                part_id="A-1",
            )
        )
        with browser.new_context(viewport={"width": 390, "height": 844}) as context:
            page = context.new_page()
            page.goto(address)
            expect(page.locator(".stage img")).to_have_js_property("naturalWidth", 800)
            box = "document.querySelector(name).getBoundingClientRect().toJSON()"
            # Both at once: meanwhile the page may fetch them anew.
            verdict, shown = page.evaluate(f"['.big', '.stage img'].map((name) => {box})")
            assert verdict["bottom"] <= shown["top"]
            assert verdict["bottom"] <= 844 / 2  # in the upper half of the screen, without scrolling


def test_everything_is_reached_by_tab_and_named(browser: Browser, line: Line) -> None:
    nameless = """[...document.querySelectorAll('button, a, input:not([type=hidden]), select, img, svg[role]')]
        .filter(e => e.checkVisibility() && e.alt !== '')
        .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.alt || e.closest('label')
            || e.querySelector('img[alt]:not([alt=""])')))
        .map(e => e.outerHTML)"""
    with browser.new_context() as context:
        page = context.new_page()
        for path in (*PAGES, f"/inspections/{newest(line)}"):
            page.goto(line.page(path))
            assert page.evaluate("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length") == 0
            assert page.evaluate(nameless) == [], path
            assert page.evaluate("document.querySelectorAll('h1').length") == 1, path
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"


def test_an_old_verdict_is_not_taken_for_a_new_one_when_the_connection_is_lost(tab: Tab, tmp_path: Path) -> None:
    with Station(tmp_path / "station", workers=1) as station:
        station.store.add_part("plate", who="test")
        with Served(station) as address:
            tab.page.goto(address)
            expect(tab.page.locator("#connection")).to_have_text("Live")
            expect(tab.page.locator(".big.stale")).to_have_count(0)
        expect(tab.page.locator("#connection")).to_contain_text("Connection lost", timeout=15_000)
        expect(tab.page.locator(".big.stale")).to_have_count(1)


def test_a_station_that_falls_silent_is_noticed_and_found_again(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "_ALIVE_SECONDS", 3600)  # as of a machine without power, which closes no connection
    then = [502, None]  # a proxy while the station starts, and a cable that is cut: answers to those who come again

    def answer(route: Route) -> None:
        if not asked or not then:
            route.continue_()
        elif (status := then.pop(0)) is not None:
            route.fulfill(status=status)
        asked.append(route)

    asked: list[Route] = []
    with Station(tmp_path / "station", workers=1) as station:
        station.store.add_part("plate", who="test")
        with Served(station) as address:
            tab.page.clock.install()
            tab.page.route("**/inspections/events", answer)
            tab.page.goto(address)
            expect(tab.page.locator("#connection")).to_have_text("Live")
            for n in (2, 3, 4):
                tab.page.clock.fast_forward(13_000)
                while len(asked) < n:
                    tab.page.wait_for_timeout(10)
                    tab.page.clock.run_for(1000)
                if n < 4:
                    expect(tab.page.locator("#connection")).to_contain_text("Connection lost")
                    expect(tab.page.locator(".big.stale")).to_have_count(1)
            expect(tab.page.locator("#connection")).to_have_text("Live")
            expect(tab.page.locator(".big.stale")).to_have_count(0)


def test_an_address_that_there_is_not_is_told_as_a_page_that_leads_back(tab: Tab, line: Line) -> None:
    answer = tab.page.goto(line.page("/histories/<script>alert(1)</script>"))
    assert answer is not None
    assert answer.status == 404
    expect(tab.page.locator(".problem")).to_have_text("There is nothing at /histories/<script>alert(1)</script>.")
    expect(tab.page.get_by_role("navigation")).to_be_visible()
    tab.complaints.clear()  # the browser notes the answer 404
    tab.page.get_by_role("link", name="To the live page").click()
    expect(tab.page).to_have_url(line.page("/"))
    at_ease(tab)


# --------------------------------------------------------------------------------------------------------------- people


def test_who_is_not_logged_in_sees_only_the_log_in_and_an_operator_no_settings(tab: Tab, tmp_path: Path) -> None:
    with Station(tmp_path / "station", workers=1) as station, Served(station) as address:
        station.people.add_user("ada", "correct horse", Role.ADMIN, who="test")
        station.people.add_user("olaf", "battery staple", Role.OPERATOR, who="test")
        tab.page.goto(f"{address}/history?lot_id=7")
        expect(tab.page.get_by_role("heading", level=1)).to_have_text("Log in")
        tab.page.get_by_label("Name").fill("olaf")
        tab.page.get_by_label("Password").fill("wrong password")
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_role("alert")).to_contain_text("Name or password is wrong")
        tab.complaints.clear()  # the browser notes the answer 401
        tab.page.get_by_label("Password").fill("battery staple")
        tab.page.keyboard.press("Enter")
        expect(tab.page).to_have_url(f"{address}/history?lot_id=7")
        expect(tab.page.get_by_role("link", name="Settings")).to_have_count(0)
        answer = tab.page.goto(f"{address}/settings")
        assert answer is not None
        assert answer.status == 403
        tab.complaints.clear()
        expect(tab.page.locator(".problem")).to_contain_text("Admin")
        tab.page.get_by_role("button", name="Log out").click()
        expect(tab.page.get_by_role("heading", level=1)).to_have_text("Log in")
        at_ease(tab)


@pytest.mark.parametrize(
    "there", ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)"]
)
def test_the_log_in_leads_to_no_other_site(there: str) -> None:
    assert pages._own_path(there) == "/"
    assert pages._own_path("/history?part=a") == "/history?part=a"


def test_an_admin_adds_and_removes_a_source_a_user_and_a_token(tab: Tab, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    with Station(tmp_path / "station", workers=1) as station, Served(station) as address:
        station.store.add_part("plate", who="test")
        station.people.add_user("ada", "correct horse", Role.ADMIN, who="test")
        secret, _ = station.people.log_in("ada", "correct horse")
        tab.page.context.add_cookies([{"name": station.people.cookie, "value": secret, "url": address}])
        tab.page.goto(f"{address}/settings")
        sure = tab.page.get_by_role("dialog").get_by_role("button", name="Do it")

        sources = tab.page.locator("#sources")
        sources.get_by_text("Add a source").click()
        sources.locator("[name=name]").fill("camera 1")
        sources.locator("[name=folder]").fill(str(images))
        sources.get_by_role("button", name="Add", exact=True).click()
        row = sources.locator("tbody tr")
        expect(row).to_contain_text(str(images))
        assert [entry["name"] for entry in station.watcher.sources.list()] == ["camera 1"]
        sources.get_by_role("button", name="Remove camera 1").click()
        sure.click()
        expect(sources.get_by_text("No source yet")).to_be_visible()
        assert station.watcher.sources.list() == []

        users = tab.page.locator("#users")
        users.get_by_text("Add a user").click()
        users.locator("[name=name]").fill("olaf")
        users.locator(".fields [name=password]").fill("battery staple")
        users.get_by_role("button", name="Add", exact=True).click()
        row = users.locator("tbody tr", has_text="olaf")
        expect(row).to_contain_text("may log in")
        row.get_by_role("button", name="Let in no longer").click()
        expect(row).to_contain_text("may not log in")
        assert {(user.name, user.role, user.disabled) for user in station.people.users()} == {
            ("ada", Role.ADMIN, False),
            ("olaf", Role.OPERATOR, True),
        }

        tokens = tab.page.locator("#tokens")
        tokens.get_by_text("Make a token").click()
        tokens.locator("[name=name]").fill("press")
        tokens.get_by_role("button", name="Add", exact=True).click()
        shown = tokens.locator(".secret").inner_text()
        token = station.people.token(shown)
        assert token is not None
        assert (token.name, token.role) == ("press", Role.OPERATOR)
        tokens.get_by_role("link", name="I have it").click()
        row = tokens.locator("tbody tr", has_text="press")
        row.get_by_role("button", name="Revoke press").click()
        sure.click()
        expect(row).to_contain_text("revoked")
        assert station.people.token(shown) is None
        at_ease(tab)


# ---------------------------------------------------------------------------------------------------------------- texts


def test_every_text_that_a_page_or_script_says_is_there_and_none_is_left_over() -> None:
    sources = [file.read_text() for name in ("templates", "static") for file in (HERE / name).iterdir()]
    sources.append((HERE / "pages.py").read_text())
    text = "\n".join(sources)
    known = Texts().keys()
    said = set(re.findall(r"""\bt\(["']([\w.]+)["'][,)]""", text))
    scripts = set(re.findall(r"""\bt\("([\w.]+)"[,)]""", "\n".join(f.read_text() for f in HERE.glob("static/*.js"))))
    assert {key for key in said if key not in known and f"js.{key}" not in known} == set()
    assert {f"js.{key}" for key in scripts} <= known
    words = set(re.findall(r"[\w.]+", text))
    left = {key for key in known if not ({key, key.removeprefix("js."), re.sub(r"\.(one|other)$", "", key)} & words)}
    groups = r"(js\.)?(verdict|role|tab|nav|job|kind|origin|what|field|statistic|settings|compare|history\.people|"
    assert {key for key in left if not re.match(groups + r"threshold\.bar)\.", key)} == set()


def test_a_language_is_a_file() -> None:
    assert "en" in languages()
    assert texts_for("xx-YY, en-GB;q=0.5").language == "en"
    assert texts_for("../../../etc/passwd").language == "en"
    assert Texts().counted("parts.good", 1) == "1 good image"
    assert Texts().counted("parts.good", 1200) == "1,200 good images"


def test_nothing_but_the_own_files_is_served_as_static() -> None:
    names = {path.name for path in (HERE / "static").iterdir()}
    assert set(pages._files()) == names
    for source in [*HERE.glob("templates/*"), *HERE.glob("static/*.css"), *HERE.glob("static/*.js")]:
        text = source.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, source
        assert "https:" not in text, source
        assert not re.search(r"\sstyle=|\son\w+=\"|<style|<script>", text), source
