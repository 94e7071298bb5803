"""What `inspect` leaves behind: overlays that are calm on good parts, tables that survive anything, one safe page."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pypdf
import pytest

from blemish.detection.decision import decide
from blemish.errors import OutputError
from blemish.images import read_image
from blemish.report import page as page_module
from blemish.report import writer as writer_module
from blemish.report.earlier import COLUMNS
from blemish.report.overlay import comparison, encode_jpeg, grey_picture, heat_map, heat_scale, overlay, shrink
from blemish.report.page import (
    Batch,
    Failure,
    Figure,
    Row,
    Rows,
    Section,
    Table,
    Thumbnails,
    render_document,
    render_page,
)
from blemish.report.pdf import PAGE_HEIGHT, PAGE_WIDTH, text_width
from blemish.report.summary import render_summary
from blemish.report.writer import ResultWriter, draw
from blemish.results import Evidence, FloatArray, Inspection, Region, Threshold, Verdict
from blemish.strips import GreyImage

LIMIT = 2.0
THRESHOLD = Threshold(value=LIMIT, alpha=0.01, promised_alpha=0.01, n_images=143)
NASTY_NAMES = [
    "a b.png",
    "Prüfling 部品.png",
    "<script>alert(1).png",
    "<img src=x onerror=alert(1)>.png",
    "\"quoted\" & 'single'.png",
    "=1+1.png",
    "line\nbreak, comma.png",
    "100% #1?.png",
]


def resized_map(anomaly_map: FloatArray, height: int, width: int, rows: slice) -> FloatArray:
    return np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_AREA)[rows], np.float32)


def make_inspection(path: Path | str | None = "part.png", score: float = 1.0, limit: float = LIMIT) -> Inspection:
    """Inspect an imaginary 40 x 60 image: its map is the score in a square of 10 x 10, half the limit around it."""
    anomaly_map = np.full((40, 60), limit / 2, np.float32)
    anomaly_map[20:30, 40:50] = score
    square = ((20, 40), (20, 49), (29, 49), (29, 40))
    region = Region(top=20, left=40, height=10, width=10, area_px=100, peak=score, mean=score, contour=square)
    return Inspection(
        path=None if path is None else Path(path),
        verdict=Verdict.DEFECTIVE if score > limit else Verdict.GOOD,
        score=score,
        threshold=limit,
        max_distance=score,
        mean_distance=float(anomaly_map.mean()),
        regions=(region,) if score > limit else (),
        height=40,
        width=60,
        grey=GreyImage.of(np.tile(np.linspace(0, 1, 60, dtype=np.float32), (40, 1))),
        map_at=partial(resized_map, anomaly_map),
        evidence=make_evidence(score) if score > limit else None,
    )


def make_evidence(distance: float, *, shown: bool = True) -> Evidence:
    """Compare a ramp with its mirror image, of less contrast."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    return Evidence(25, 45, distance, n_good=8, n_good_below=7, found=ramp, nearest=0.5 * ramp[::-1] if shown else None)


def is_grey(picture: np.ndarray) -> bool:
    return bool((picture == picture[..., :1]).all())


def add(writer: ResultWriter, inspection: Inspection) -> None:
    writer.add(inspection.to_dict(), draw(inspection))


def failure(path: str, reason: str) -> dict[str, str]:
    return {"path": path, "verdict": "error", "reason": reason}


def make_row(inspection: Inspection, overlay_path: str) -> Row:
    return Row.of({**inspection.to_dict(), "overlay": overlay_path})


def write(folder: Path, *inspections: Inspection) -> None:
    with ResultWriter(folder, model_name="part.blemish", threshold=THRESHOLD) as writer:
        for inspection in inspections:
            add(writer, inspection)


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_jsonl(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


class Page(HTMLParser):
    """A page taken apart; balanced tags are asserted on the way."""

    _VOID = frozenset({"meta", "img", "br", "wbr", "input", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[tuple[str, str, str]] = []  # tag, attribute, address
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[str] = []  # text of every td
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.links += [(tag, name, value or "") for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self._VOID:
            self._open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.text += data
        if "td" in self._open:
            self.cells[-1] += data


def make_batch(rows: Sequence[Row], failures: Sequence[Failure] = (), *, complete: bool = True) -> Batch:
    picture = encode_jpeg(np.zeros((4, 4), np.uint8), quality=75)
    return Batch(
        model_name="part.blemish",
        threshold=THRESHOLD,
        rows=Rows(rows),
        failures=failures,
        thumbnails={row.overlay: Thumbnails(picture, picture) for row in rows},
        finished=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        complete=complete,
    )


def make_rows(*scores: float) -> list[Row]:
    return [make_row(make_inspection(f"{n}.png", score), f"overlays/{n}.jpg") for n, score in enumerate(scores)]


# --- overlay -----------------------------------------------------------------------------------------------------


def test_more_anomalous_is_brighter() -> None:
    picture = heat_map(np.linspace(0, 4, 64, dtype=np.float32)[np.newaxis], *heat_scale(LIMIT))
    brightness = picture[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) >= -1).all()
    assert brightness[-1] > 200 > 20 > brightness[0]


def test_a_distance_has_the_same_colour_on_every_map() -> None:
    alone = heat_map(np.full((1, 1), 3, np.float32), 0, 4)
    among_others = heat_map(np.array([[3, 0, 100]], np.float32), 0, 4)
    assert (alone[0, 0] == among_others[0, 0]).all()


def test_a_good_part_stays_grey() -> None:
    assert is_grey(overlay(make_inspection(score=0.8 * LIMIT), side=100))


def test_a_defect_glows_and_the_rest_stays_grey() -> None:
    picture = overlay(make_inspection(score=2 * LIMIT), side=100)
    assert not is_grey(picture[23:27, 43:47])
    assert is_grey(picture[:, :30])


def test_the_overlay_depends_on_the_distance_relative_to_the_threshold_only() -> None:
    once, tenfold = (make_inspection(score=factor * 3.0, limit=factor * LIMIT) for factor in (1, 10))
    assert (overlay(once, side=100) == overlay(tenfold, side=100)).all()


@pytest.mark.parametrize("scale", [1, 2.5])
def test_ignored_zones_are_dimmed_and_hatched_in_grey_and_the_rest_is_as_it_was(scale: float) -> None:
    found = make_inspection(score=0.5 * LIMIT)
    zone = np.zeros((round(40 * scale), round(60 * scale)), bool)  # a mask of any size stands for the whole image
    zone[:, : round(30 * scale)] = True
    plain, hatched = overlay(found, side=100), overlay(replace(found, ignored=zone), side=100)
    assert is_grey(hatched)
    assert (hatched[:, 30:] == plain[:, 30:]).all()
    greys, n = np.unique(hatched[:, :30, 0], return_counts=True)
    lines = greys[n.argmax()]  # all lines have one grey; the surface between them is a ramp
    between = hatched[:, :30, 0] != lines
    assert np.abs(hatched[:, :30, 0] - 128.0)[between].max() < np.abs(plain[:, :30, 0] - 128.0)[between].max()
    assert 0.05 < 1 - between.mean() < 0.4


def test_a_threshold_of_zero_can_be_drawn() -> None:
    assert not is_grey(overlay(make_inspection(score=1.0, limit=0.0), side=100))


def test_regions_are_outlined() -> None:
    red, green, blue = overlay(make_inspection(score=3.0), side=100)[20, 45].astype(int)
    assert min(green, blue) - red > 100  # cyan


def test_a_large_picture_is_shrunk_to_the_side_and_keeps_its_shape() -> None:
    assert overlay(make_inspection(score=3.0), side=30).shape == (20, 30, 3)


def test_a_small_picture_needs_no_map_at_the_size_of_the_image() -> None:
    asked: list[tuple[int, int]] = []

    def map_at(height: int, width: int, rows: slice) -> FloatArray:
        asked.append((height, width))
        return np.full((height, width), 3.0, np.float32)[rows]

    overlay(replace(make_inspection(score=3.0), map_at=map_at), side=30)
    assert asked == [(20, 30)]


def test_a_line_of_pixels_survives_shrinking() -> None:
    assert shrink(np.zeros((1, 1000), np.uint8), 100).shape == (1, 100)


def test_an_outline_stays_at_its_place_when_shrunk() -> None:
    red, _, blue = overlay(make_inspection(score=3.0), side=30)[10, 22].astype(int)
    assert blue - red > 100


def test_dark_images_are_stretched_to_be_seen() -> None:
    dark = np.array([[0.0, 0.03, 0.06]], np.float32)  # 12 bits in a 16-bit file
    assert grey_picture(GreyImage.of(dark)).tolist() == [[0, 128, 255]]


def test_an_image_of_one_colour_keeps_it() -> None:
    assert grey_picture(GreyImage.of(np.ones((1, 2), np.float32))).tolist() == [[255, 255]]


def test_the_worst_place_is_drawn_beside_the_good_one_in_one_range_of_grey() -> None:
    picture = comparison(make_evidence(3.0))
    assert picture is not None
    assert (picture[:, :64].max(), picture[:, -64:].max()) == (255, 128)


def test_without_a_good_place_there_is_no_comparison() -> None:
    assert comparison(make_evidence(3.0, shown=False)) is None


def test_jpeg_keeps_red_green_blue_in_order() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(red, quality=90), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded[4, 4, 2] > 240  # OpenCV decodes to blue, green, red


# --- files -------------------------------------------------------------------------------------------------------


def test_a_run_leaves_table_lines_overlays_page_and_summary(tmp_path: Path) -> None:
    write(tmp_path / "new" / "out", make_inspection())
    names = {str(path.relative_to(tmp_path / "new" / "out")) for path in tmp_path.rglob("*") if path.is_file()}
    tables = {"results.csv", "results.jsonl", "run.json"}
    assert names == tables | {"report.html", "report.pdf", str(Path("overlays/part.jpg"))}


def test_what_was_stopped_has_a_second_picture_its_worst_place_beside_the_nearest_good_one(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("part.png", score=3.0), make_inspection("other/part.png"))
    assert {path.name for path in (tmp_path / "overlays").iterdir()} == {"part.jpg", "part.png", "other-part.jpg"}
    shown = np.rint(255 * read_image(tmp_path / "overlays" / "part.png"))
    assert (shown == comparison(make_evidence(3.0))).all()


def test_the_overlay_has_the_size_of_the_image(tmp_path: Path) -> None:
    write(tmp_path, make_inspection())
    assert read_image(tmp_path / "overlays" / "part.jpg").shape == (40, 60)


def test_csv_tells_of_the_verdict_and_the_strongest_region(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("a/part.png", score=3.5))
    (row,) = read_csv(tmp_path)
    assert tuple(row) == COLUMNS
    assert (row["path"], row["verdict"], float(row["score"])) == (str(Path("a/part.png")), "defective", 3.5)
    assert (row["n_regions"], row["region_top"], row["region_left"], row["region_area_px"]) == ("1", "20", "40", "100")
    assert row["overlay"] == "overlays/part.jpg"


def test_areas_in_square_millimetres_are_in_table_lines_and_page(tmp_path: Path) -> None:
    inspection = make_inspection("part.png", score=3.5)
    region = replace(inspection.regions[0], area_mm2=0.25)
    write(tmp_path, replace(inspection, regions=(region,)))
    (row,), (record,) = read_csv(tmp_path), read_jsonl(tmp_path)
    assert row["region_area_mm2"] == "0.25"
    assert record["regions"][0]["area_mm2"] == 0.25  # type: ignore[index]
    assert "0.25 mm²" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_csv_and_page_tell_why_an_image_was_stopped(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("bad.png", 3.0), make_inspection("good.png", 1.0))
    bad, good = read_csv(tmp_path)
    columns = ("peak_row", "peak_column", "n_good", "n_good_below")
    assert [bad[name] for name in columns] == ["25", "45", "8", "7"]
    assert [good[name] for name in columns] == [""] * 4
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Score above 7 of 8 good images." in page.text
    assert page.tags.count("img") == 6  # the legend, two of each image, and the comparison


def test_csv_leaves_the_region_empty_on_a_good_part(tmp_path: Path) -> None:
    write(tmp_path, make_inspection())
    (row,) = read_csv(tmp_path)
    assert (row["verdict"], row["n_regions"], row["region_peak"]) == ("good", "0", "")


def test_json_lines_hold_the_whole_record(tmp_path: Path) -> None:
    inspection = make_inspection(score=3.5)
    write(tmp_path, inspection)
    pictures = {"overlay": "overlays/part.jpg", "comparison": "overlays/part.png"}
    expected = json.loads(json.dumps({**inspection.to_dict(), **pictures}))
    assert read_jsonl(tmp_path) == [expected]


def test_an_image_that_could_not_be_read_stands_in_every_result(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
        writer.add(failure("torn.png", "The file ends\nin the middle."), None)
    (row,) = read_csv(tmp_path)
    assert (row["path"], row["verdict"], row["reason"]) == ("torn.png", "error", "The file ends in the middle.")
    assert read_jsonl(tmp_path) == [{"path": "torn.png", "verdict": "error", "reason": "The file ends in the middle."}]
    assert "The file ends in the middle." in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_rows_are_on_disk_as_soon_as_they_are_added(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
        add(writer, make_inspection())
        assert len(read_csv(tmp_path)) == len(read_jsonl(tmp_path)) == 1
        assert (tmp_path / "overlays" / "part.jpg").exists()


def test_a_stopped_run_still_gets_its_page(tmp_path: Path) -> None:
    def stop_after_one() -> None:
        with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
            add(writer, make_inspection())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_one()
    assert "Stopped early" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_images_of_the_same_name_keep_their_own_overlays(tmp_path: Path) -> None:
    paths = ["a/0.png", "b/0.png", "x/b/0.png", "y/b/0.bmp", "c/0.PNG", "C/0.png"]
    write(tmp_path, *(make_inspection(path) for path in paths), make_inspection(None), make_inspection(None))
    overlays = [row["overlay"] for row in read_csv(tmp_path)]
    assert overlays[:3] == ["overlays/0.jpg", "overlays/b-0.jpg", "overlays/b-0-3.jpg"]
    assert len({name.casefold() for name in overlays}) == len(overlays)
    assert all((tmp_path / name).is_file() for name in overlays)


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_any_name_comes_back_from_csv_and_json(tmp_path: Path, name: str) -> None:
    write(tmp_path, make_inspection(name))
    (row,) = read_csv(tmp_path)
    assert Path(row["path"]) == Path(name)
    assert read_jsonl(tmp_path)[0]["path"] == name
    assert (tmp_path / row["overlay"]).is_file()


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t"])
def test_no_cell_begins_like_a_formula(tmp_path: Path, first: str) -> None:
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
        add(writer, make_inspection(f"{first}cmd.png"))
        writer.add(failure(f"{first}cmd.png", f"{first}cmd is not an image"), None)
    cells = [row[column] for row in read_csv(tmp_path) for column in ("path", "overlay", "reason")]
    assert not any(cell.startswith(first) for cell in cells)


def test_a_name_that_is_not_unicode_is_written_escaped(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("bad\udcff.png"))
    assert read_jsonl(tmp_path)[0]["path"] == "bad\udcff.png"


def test_long_names_are_cut_at_the_front_where_they_differ_least(tmp_path: Path) -> None:
    write(tmp_path, *(make_inspection("部" * 80 + f"{n}.png") for n in range(3)))
    overlays = [row["overlay"] for row in read_csv(tmp_path)]
    assert len(set(overlays)) == 3
    assert overlays[2].endswith("2.jpg")


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("old.png"))
    write(tmp_path, make_inspection("new.png"))
    assert [row["path"] for row in read_csv(tmp_path)] == ["new.png"]
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["new.jpg"]


def test_a_second_run_leaves_other_files_alone(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("part.png"))
    others = [tmp_path / "notes.txt", tmp_path / "overlays" / "mine.jpg", tmp_path / "overlays" / "next.jpg"]
    for path in others:
        path.write_text("mine")
    write(tmp_path, make_inspection("next.png"))
    assert [path.read_text() for path in others] == ["mine"] * 3


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl", "report.html", "report.pdf", "overlays/a.jpg"])
def test_a_foreign_file_under_our_name_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("path,verdict\nhand,made\n")
    with pytest.raises(OutputError, match="Choose another output folder"):
        write(tmp_path, make_inspection())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [foreign]
    assert foreign.read_text() == "path,verdict\nhand,made\n"


def test_a_run_cut_in_the_middle_of_a_row_is_recognised_as_ours(tmp_path: Path) -> None:
    write(tmp_path, make_inspection("one.png"), make_inspection("two.png"))
    table = tmp_path / "results.csv"
    table.write_text(table.read_text()[:-30])
    write(tmp_path, make_inspection("new.png"))
    assert len(read_csv(tmp_path)) == 1


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="another output folder"):
        ResultWriter(tmp_path / "file" / "out", model_name="m", threshold=THRESHOLD)


def test_a_disk_that_fills_up_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OutputError(f"'{path}' cannot be written (No space left on device).")

    monkeypatch.setattr(writer_module, "write_bytes", full)
    with pytest.raises(OutputError, match=r"part\.jpg.*No space left"):  # the page that fails too must not hide it
        write(tmp_path, make_inspection())


def test_a_second_run_at_once_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
        add(writer, make_inspection("a.png"))
        with pytest.raises(OutputError, match="Another run"):
            write(tmp_path, make_inspection("b.png"))
        add(writer, make_inspection("c.png"))
    assert [row["path"] for row in read_csv(tmp_path)] == ["a.png", "c.png"]
    write(tmp_path, make_inspection("b.png"))
    assert [row["path"] for row in read_csv(tmp_path)] == ["b.png"]


def test_a_run_that_is_killed_gives_its_folder_back(tmp_path: Path) -> None:
    code = "import sys; from blemish.locks import take; lock = take(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / writer_module._LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match="Another run"):
            write(tmp_path, make_inspection())
        other.kill()
    write(tmp_path, make_inspection())
    assert len(read_csv(tmp_path)) == 1


@pytest.mark.parametrize("step", ["write_bytes", "write_text"])  # of an overlay, and of the page
def test_a_run_that_fails_gives_its_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(path: Path, data: object) -> None:
        raise OutputError("No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(writer_module, step, full)
        with pytest.raises(OutputError, match="No space left"):
            write(tmp_path, make_inspection())
    write(tmp_path, make_inspection())
    assert len(read_csv(tmp_path)) == 1


def test_large_batches_show_pictures_of_the_most_anomalous_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_MAX_THUMBNAILS", 2)
    write(tmp_path, *(make_inspection(f"{score}.png", score) for score in (1.0, 4.0, 2.5, 3.0)))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("tr") == 4 + 1
    shown = {value for name, value in page.attributes if name == "alt" and "regions" in value}
    assert shown == {"4.0.png with its regions outlined", "3.0.png with its regions outlined"}
    assert "the 2 most anomalous images only" in page.text


def test_huge_batches_list_the_most_anomalous_and_count_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "_MAX_ROWS", 2)
    page = Page(render_page(make_batch(make_rows(1.0, 4.0, 3.0, 0.5))))
    assert [cell for cell in page.cells if cell.endswith(".png")] == ["1.png", "2.png"]
    assert "images4" in page.text.replace("\n", "")


def test_of_a_huge_batch_only_the_rows_that_are_listed_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).integers(0, 40, 200).astype(float).tolist()  # with many ties
    everything = sorted(make_rows(*scores), key=lambda row: row.score, reverse=True)  # stable
    assert Rows(make_rows(*scores)).most_anomalous() == everything
    monkeypatch.setattr(page_module, "_MAX_ROWS", 30)
    rows = Rows(make_rows(*scores))
    assert rows.most_anomalous() == everything[:30]
    assert rows.scores.tolist() == scores
    assert len(rows) == len(rows.verdicts) == 200


def test_of_very_many_failures_the_first_are_listed_and_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_MAX_FAILURES", 2)
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD) as writer:
        for name in ("a.png", "b.png", "c.png"):
            writer.add({"path": name, "verdict": "error", "reason": "It has 0 bytes."}, None)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "3 images could not be read" in page.text
    assert "The first 2 are listed" in page.text
    assert [cell for cell in page.cells if cell.endswith(".png")] == ["a.png", "b.png"]


# --- page --------------------------------------------------------------------------------------------------------


def test_the_page_counts_images_and_verdicts() -> None:
    page = Page(render_page(make_batch(make_rows(1.0, 1.5, 3.0), [Failure("torn.png", "It has 0 bytes.")])))
    facts = re.findall(r"(images|good|defective|not read)\s*(\d+)", page.text)[:4]
    assert facts == [("images", "4"), ("good", "2"), ("defective", "1"), ("not read", "1")]


def test_the_page_has_a_row_for_every_image() -> None:
    rows, failures = make_rows(*np.linspace(0.5, 4, 25).tolist()), [Failure("torn.png", "It has 0 bytes.")] * 3
    assert Page(render_page(make_batch(rows, failures))).tags.count("tr") == (25 + 1) + (3 + 1)


def test_the_most_anomalous_image_comes_first() -> None:
    page = Page(render_page(make_batch(make_rows(1.0, 3.0, 2.0))))
    assert [cell for cell in page.cells if cell.endswith(".png")] == ["1.png", "2.png", "0.png"]


def test_verdicts_are_words_and_signs() -> None:
    page = Page(render_page(make_batch(make_rows(1.0, 3.0))))
    assert "✕ Defective" in page.cells
    assert "✓ Good" in page.cells


def test_the_page_says_what_the_threshold_promises() -> None:
    page = Page(render_page(make_batch(make_rows(1.0))))
    assert "At most 1 in 100 good parts" in page.text
    assert "143 held-out good images" in page.text


def test_every_row_says_its_verdict_to_the_filter_which_offers_those_that_occur() -> None:
    page = Page(render_page(make_batch(make_rows(1.0, 3.0, 1.5))))
    assert [value for name, value in page.attributes if name == "data-verdict"] == ["defective", "good", "good"]
    offered = [value for name, value in page.attributes if name == "value"]
    assert offered == ["", "defective", "good"]


def test_without_scripts_all_rows_stand_there_and_no_controls() -> None:
    page = Page(render_page(make_batch(make_rows(*[1.0] * 150))))
    assert page.tags.count("td") == 6 * 150
    assert ("hidden", "") in page.attributes


def test_the_page_loads_nothing() -> None:
    page = Page(render_page(make_batch(make_rows(1.0, 3.0))))
    assert {address.split(",")[0] for _, name, address in page.links if name == "src"} == {"data:image/jpeg;base64"}
    assert {address for _, name, address in page.links if name == "href"} == {"overlays/0.jpg", "overlays/1.jpg"}
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)


@pytest.mark.parametrize("complete", [True, False])
def test_no_address_of_the_network_stands_in_the_page(complete: bool) -> None:
    html = render_page(make_batch(make_rows(1.0, 3.0), complete=complete))
    assert not re.search(r"https?://|@import|url\(", html)


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_names_are_text_and_never_markup(name: str) -> None:
    row = make_row(make_inspection(f"{name}/{name}"), "overlays/a.jpg")
    plain = Page(render_page(make_batch([make_row(make_inspection("a/b"), "overlays/a.jpg")], [Failure("c", "d")])))
    page = Page(render_page(make_batch([row], [Failure(name, f"{name} is torn")])))
    assert page.tags == plain.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in plain.attributes]
    assert name in page.cells
    assert name + name in page.cells  # file above its folder


def test_an_image_from_an_array_has_a_row() -> None:
    page = Page(render_page(make_batch([make_row(make_inspection(None), "overlays/image.jpg")])))
    assert "Image without a name" in page.cells


def test_a_batch_without_a_readable_image_has_a_page() -> None:
    assert "1 image could not be read" in Page(render_page(make_batch([], [Failure("torn.png", "0 bytes")]))).text


def test_unsure_images_are_counted_marked_and_drawn() -> None:
    threshold = replace(THRESHOLD, unsure=replace(THRESHOLD, value=1.5, alpha=0.1, promised_alpha=0.1))
    verdicts = [decide(score, threshold) for score in (1.0, 1.6, 1.9, 3.0)]
    rows = [replace(row, verdict=verdict) for row, verdict in zip(make_rows(1.0, 1.6, 1.9, 3.0), verdicts, strict=True)]
    html = render_page(replace(make_batch(rows), threshold=threshold))
    page = Page(html)
    assert re.findall(r"(good|unsure|defective)\s*(\d+)", page.text)[:3] == [
        *(("good", "1"), ("unsure", "2"), ("defective", "1"))
    ]
    assert page.cells.count("? Unsure") == 2
    assert "a person should look" in page.text
    drawn = re.findall(r'<rect class="(\w+)".*?<title>(\d+) from', html)
    assert sum(int(n) for verdict, n in drawn if verdict == "unsure") == 2


def test_bars_of_one_place_stand_on_each_other() -> None:
    threshold = replace(THRESHOLD, unsure=replace(THRESHOLD, value=1.0))
    rows = [replace(row, verdict=decide(row.score, threshold)) for row in make_rows(0.999999, 1.000001, 40.0)]
    html = render_page(replace(make_batch(rows), threshold=threshold))
    (good, unsure, _) = re.findall(r'<rect class="(\w+)" x="([\d.]+)%" y="([\d.]+)".*?height="([\d.]+)"', html)
    assert (good[0], unsure[0], good[1]) == ("good", "unsure", unsure[1])
    assert float(unsure[2]) + float(unsure[3]) == float(good[2])


@pytest.mark.parametrize("scores", [[1.0], [2.0, 2.0], [0.1, 1.9, 2.0, 2.1, 3.9], [1.0, 2.5, 500.0]])
def test_bars_of_the_histogram_count_every_image_on_its_side_of_the_threshold(scores: list[float]) -> None:
    html = render_page(make_batch(make_rows(*scores)))
    (limit,) = {float(x) for x in re.findall(r'<line x1="([\d.]+)%" x2="\1%"', html)}
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)%".*? width="([\d.]+)%".*?<title>(\d+) from', html)
    assert sum(int(n) for kind, _, _, n in bars if kind == "good") == sum(score <= LIMIT for score in scores)
    assert sum(int(n) for kind, _, _, n in bars if kind == "defective") == sum(score > LIMIT for score in scores)
    assert all((float(left) + float(width) / 2 > limit) == (kind == "defective") for kind, left, width, _ in bars)
    assert all(float(left) >= 0 and float(left) + float(width) <= 100 for _, left, width, _ in bars)


def test_a_far_outlier_is_counted_but_does_not_stretch_the_histogram() -> None:
    assert "1 image beyond the axis" in Page(render_page(make_batch(make_rows(1.0, 2.5, 500.0)))).text


def test_thresholds_of_zero_and_below_have_a_page_and_a_summary() -> None:
    rows = make_rows(-1.0, 1.0)
    for value in (0.0, -0.5):
        batch = Batch("m", Threshold(value, 0.01, 0.01, 143), Rows(rows), (), {}, datetime(2026, 1, 2, tzinfo=UTC))
        assert Page(render_page(batch)).tags.count("tr") == 2 + 1
        assert "above 0" in text_of(batch) or "above -0.5" in text_of(batch)


def with_statistics(batch: Batch, n: int) -> Batch:
    values = np.linspace(0.1, 0.3, n).tolist()
    names = ("brightness", "contrast", "sharpness", "distance")
    good = {name: [0.1, 0.3] for name in names}
    return replace(batch, statistics=dict.fromkeys(names, values), good_statistics=good)


@pytest.mark.parametrize("n", [1, 10, 400])
def test_the_page_has_a_control_chart_of_score_and_statistics_that_needs_no_script(n: int) -> None:
    html = render_page(with_statistics(make_batch(make_rows(*[1.0] * n)), n))
    labels = [value for name, value in Page(html).attributes if name == "aria-label" and "Control chart" in value]
    assert [label.split()[3] for label in labels] == ["score", "brightness", "contrast", "sharpness", "distance"]
    body = html[: html.index("<script>")]
    assert body.count("<circle") == 5 * min(n, 150)
    assert all("most good images 0.105 to 0.295" in label for label in labels[1:])


def test_without_statistics_there_is_the_chart_of_scores_alone() -> None:
    html = render_page(make_batch(make_rows(1.0, 3.0)))
    assert html.count("Control chart") == 1


def test_the_writer_hands_statistics_to_the_charts(tmp_path: Path) -> None:
    usual = {"brightness": [0.1, 0.2, 0.3]}
    with ResultWriter(tmp_path, model_name="m", threshold=THRESHOLD, good_statistics=usual) as writer:
        writer.statistics = {"brightness": [0.25, 0.5, 0.75], "height": [40.0] * 3}
        for _ in range(3):
            add(writer, make_inspection())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "brightness</b> · this batch 0.5, most good images 0.105 to 0.295" in html


# --- summary -----------------------------------------------------------------------------------------------------


def summary_of(batch: Batch) -> pypdf.PageObject:
    (page,) = pypdf.PdfReader(io.BytesIO(render_summary(batch)), strict=True).pages
    return page


def text_of(batch: Batch) -> str:
    return " ".join(summary_of(batch).extract_text().split())


def test_the_summary_says_what_the_page_says() -> None:
    batch = make_batch(make_rows(1.0, 1.5, 3.0), [Failure("torn.png", "It has 0 bytes.")], complete=False)
    text = text_of(replace(batch, warnings=("The light is dim.",), run="model 0815 by onnxruntime"))
    for said in (
        *("4 images 2 good 1 defective 1 not read", "2026-01-02 03:04", "part.blemish", "above 2.000"),
        *("At most 1 in 100 good parts will be stopped, judging from 143 held-out good images.", "Stopped early"),
        *("Look at the camera first.", "The light is dim.", "threshold 2.000", "Scores of 3 images", "model 0815"),
        *("2.png defective, score 3.000 = 1.50 × threshold", "Score above 7 of 8 good images."),
    ):
        assert said in text


def test_the_summary_of_two_limits_counts_the_unsure() -> None:
    threshold = replace(THRESHOLD, unsure=replace(THRESHOLD, value=1.5, alpha=0.1, promised_alpha=0.1))
    rows = [replace(row, verdict=decide(row.score, threshold)) for row in make_rows(1.0, 1.6, 3.0)]
    text = text_of(replace(make_batch(rows), threshold=threshold))
    assert "3 images 1 good 1 unsure 1 defective" in text
    assert "Above 1.500 and up to that it is unsure" in text
    assert "1.png unsure, score 1.600" in text


def test_the_summary_shows_the_strongest_that_were_stopped_with_their_pictures() -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(1.0, 5.0, 40)).tolist()
    batch = make_batch(make_rows(*scores))
    text = text_of(batch)
    strongest = sorted(range(40), key=lambda n: scores[n], reverse=True)[:6]
    assert re.findall(r"(\d+)\.png", text) == [str(n) for n in strongest]
    assert f"The 6 strongest of {sum(score > LIMIT for score in scores)} stopped" in text
    assert len(summary_of(batch).images) == 6 * 2


def test_the_summary_of_good_parts_says_so_and_shows_the_highest_scores() -> None:
    text = text_of(make_batch(make_rows(1.0, 1.5)))
    assert "No part was stopped. The highest scores: 1.png good, score 1.500" in text


def test_a_batch_without_a_readable_image_has_a_summary() -> None:
    assert "1 images" in text_of(make_batch([], [Failure("torn.png", "0 bytes")]))


@pytest.mark.parametrize("name", [*NASTY_NAMES, "部" * 80, "x" * 300, "bad\udcff.png"])
def test_nothing_leaves_the_sheet_whatever_the_names_and_warnings(name: str) -> None:
    rows = [make_row(make_inspection(f"{name}/{name}", 3.0 + n), f"overlays/{n}.jpg") for n in range(9)]
    warnings = tuple(f"The {name} of this batch as a whole is 0.2, but 0.6 to 0.7 in most of them." for _ in range(30))
    batch = replace(make_batch(rows), model_name=name, warnings=warnings, run=f"{name} " * 40)
    places: list[tuple[float, float, float]] = []

    def note(text: str, matrix: object, place: list[float], font: object, size: float) -> None:
        if text.strip():
            places.append((place[4], place[5], text_width(text.strip(), size)))

    summary_of(batch).extract_text(visitor_text=note)
    assert len(places) > 20
    assert all(left >= 41 and left + width <= PAGE_WIDTH - 41 for left, _, width in places)
    assert all(20 <= bottom <= PAGE_HEIGHT - 40 for _, bottom, _ in places)


def test_the_summary_of_ten_thousand_images_is_small() -> None:
    rows = [replace(row, overlay=f"overlays/{n}.jpg") for n, row in enumerate(make_rows(1.0) * 10_000)]
    assert len(render_summary(make_batch(rows))) < 50_000


def test_a_document_shows_text_tables_and_figures() -> None:
    png = cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes()
    table = Table(("type", "AUROC"), (("crack", "0.91 ± 0.02"), ("hole", "–")), caption="Higher is better.")
    section = Section("Detection", ("One.", "Two."), (table,), (Figure(png, "A map.", "A crack glows."),))
    page = Page(render_document("Evaluation", [section, Section("Limits")], intro="Judged on unseen images."))
    assert all(part in page.text for part in ("Evaluation", "Judged on unseen", "One.", "Two.", "Higher", "Limits"))
    assert page.cells == ["crack", "0.91 ± 0.02", "hole", "–"]
    assert ("alt", "A crack glows.") in page.attributes
    assert [address.split(",")[0] for _, _, address in page.links] == ["data:image/png;base64"]


def test_everything_in_a_document_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    section = Section(evil, (evil,), (Table((evil,), ((evil,),), evil),), (Figure(b"", evil, evil),))
    page = Page(render_document(evil, [section], intro=evil))
    assert page.tags.count("img") == 1
    assert not any(name == "onerror" for name, _ in page.attributes)


def test_columns_of_numbers_are_aligned_right() -> None:
    table = Table(("type", "count"), (("2nd crack", "12"), ("hole", "–")))
    html = render_document("t", [Section("s", tables=(table,))])
    assert re.findall(r'<th scope="col"( class="number")?>', html) == ["", ' class="number"']
