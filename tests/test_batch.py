"""A batch ends with a row for everything it was given; only nothing to do, or nowhere to write, stops it."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import cv2
import numpy as np
import pypdf
import pytest

from blemish.detection.detector import Detector
from blemish.errors import DatasetError, ImageError, ModelFileError, OutputError, UnreadError
from blemish.images import read_image, write_image
from blemish.report import batch
from blemish.report.batch import BatchCounts, inspect_batch
from blemish.results import Evidence, Inspection, Threshold, Verdict
from blemish.strips import GreyImage

LIMIT = 0.5


EVIDENCE = Evidence(
    row=1, column=2, distance=0.9, n_good=9, n_good_below=9, found=np.eye(4, dtype=np.float32), nearest=np.eye(4)[::-1]
)


class FakeDetector:
    """Finds an image defective when its brightest pixel is above the limit; fails on files named in `failures`."""

    description = SimpleNamespace(category="plate", good_statistics={})
    fingerprint = "plate, limit 0.5"
    threshold = Threshold(value=LIMIT, alpha=0.01, promised_alpha=0.01, n_images=99)

    def __init__(self, failures: dict[str, BaseException] | None = None) -> None:
        self.failures = failures or {}
        self.inspected: list[str] = []

    def with_threads(self, threads: int) -> Self:
        return self

    def inspect(self, path: Path) -> Inspection:
        self.inspected.append(path.name)
        if path.name in self.failures:
            raise self.failures[path.name]
        image = read_image(path)
        score = float(image.max())
        return Inspection(
            path=path,
            verdict=Verdict.DEFECTIVE if score > LIMIT else Verdict.GOOD,
            score=score,
            threshold=LIMIT,
            max_distance=score,
            mean_distance=float(image.mean()),
            regions=(),
            height=image.shape[0],
            width=image.shape[1],
            grey=GreyImage.of(image),
            map_at=lambda height, width, rows=slice(None): image[rows],
            evidence=None if score <= LIMIT else EVIDENCE,
        )


def fake(**failures: BaseException) -> Detector:
    return cast(Detector, FakeDetector({f"{stem}.png": error for stem, error in failures.items()}))


def tell_into(records: list[dict[str, Any]]) -> Any:
    return lambda record: records.append(record)


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the images a, b and d, which are good, and c, which is defective."""
    for stem, brightness in (("a", 0.1), ("b", 0.2), ("c", 0.9), ("d", 0.3)):
        write_image(tmp_path / "images" / f"{stem}.png", np.full((4, 6), brightness, dtype=np.float32))
    return tmp_path / "images"


def test_every_image_is_counted_and_told(images: Path) -> None:
    records: list[dict[str, Any]] = []
    assert inspect_batch(fake(), [images], tell=tell_into(records)) == BatchCounts(
        good=3, unsure=0, defective=1, failed=0
    )
    assert [record["verdict"] for record in records] == ["good", "good", "defective", "good"]


@pytest.mark.parametrize(
    "error",
    [ImageError("cut off"), cv2.error("ksize"), MemoryError("no room"), ValueError("odd"), DatasetError("strange")],
)
def test_an_image_that_fails_is_a_row_and_the_rest_goes_on(images: Path, tmp_path: Path, error: Exception) -> None:
    output = tmp_path / "out"
    counts = inspect_batch(fake(b=error), [images], output)
    assert counts == BatchCounts(good=2, unsure=0, defective=1, failed=1)
    assert [row["verdict"] for row in rows(output)] == ["good", "error", "defective", "good"]
    assert str(error) in rows(output)[1]["reason"]


def test_an_overlay_that_cannot_be_drawn_is_a_row_too(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("too large to draw")

    monkeypatch.setattr(batch, "draw", fail)
    assert inspect_batch(fake(), [images], tmp_path / "out") == BatchCounts(good=0, unsure=0, defective=0, failed=4)
    assert {row["verdict"] for row in rows(tmp_path / "out")} == {"error"}


@pytest.mark.parametrize("error", [OutputError("disk full"), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_end_the_batch(images: Path, tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        inspect_batch(fake(b=error), [images], tmp_path / "out")
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["good"]


def test_what_tell_raises_is_no_fault_of_the_image(images: Path) -> None:
    def closed(record: dict[str, Any]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        inspect_batch(fake(), [images], tell=closed)


def test_a_source_without_images_is_a_row_in_its_place(images: Path, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.mkdir()
    sources = [missing, images / "a.png", empty, images / "c.png"]
    counts = inspect_batch(fake(), sources, tmp_path / "out", tell=tell_into(records))
    assert counts == BatchCounts(good=1, unsure=0, defective=1, failed=2)
    assert [record["path"] for record in records] == [str(source) for source in sources]
    assert [record["verdict"] for record in records] == ["error", "good", "error", "defective"]
    assert "no images" in records[2]["reason"]
    assert [row["path"] for row in rows(tmp_path / "out")] == [str(source) for source in sources]


def test_nothing_but_sources_without_images_is_an_error_that_names_all(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"(?s)first.*second"):
        inspect_batch(fake(), [tmp_path / "first", tmp_path / "second"], output)
    assert not output.exists()


def test_overlays_of_an_earlier_run_are_not_inspected(images: Path) -> None:
    for _ in range(2):
        inspect_batch(fake(), [images], images / "out")
        assert len(rows(images / "out")) == 4


@pytest.mark.parametrize("gone", ["", "run.json", "results.csv"])
def test_overlays_of_a_run_into_another_folder_are_not_inspected_either(
    images: Path, tmp_path: Path, gone: str
) -> None:
    inspect_batch(fake(), [images], images / "monday")
    if gone:
        (images / "monday" / gone).unlink()
    for output in (images / "tuesday", tmp_path / "elsewhere", None):
        assert inspect_batch(fake(), [images], output).good == 3


def test_overlays_at_a_url_of_a_disk_are_not_inspected_either(images: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra `cluster`")
    inspect_batch(fake(), [images], images / "monday")
    told: list[dict[str, Any]] = []
    inspect_batch(fake(), [f"file://{images}"], tell=tell_into(told))
    assert [record["path"] for record in told] == [f"file://{images}/{stem}.png" for stem in "abcd"]


def test_a_folder_of_images_that_is_called_overlays_is_inspected(images: Path) -> None:
    write_image(images / "overlays" / "e.png", np.full((4, 6), 0.1, dtype=np.float32))
    (images / "run.json").write_text("{}")  # of another program
    assert inspect_batch(fake(), [images]).good == 4


def test_nothing_but_overlays_of_an_earlier_run_is_an_error(images: Path) -> None:
    output = images / "out"
    inspect_batch(fake(), [images], output)
    with pytest.raises(DatasetError, match="earlier run"):
        inspect_batch(fake(), [output], output)
    assert len(rows(output)) == 4


def test_progress_counts_images_and_sources(images: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    inspect_batch(
        fake(),
        [images, tmp_path / "missing"],
        progress=lambda stage, done, total, note="": steps.append((done, total)),
    )
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def used_to_bright_images() -> Detector:
    detector = fake()
    usual = {"brightness": np.linspace(0.6, 0.7, 40).tolist()}
    detector.description = SimpleNamespace(category="plate", good_statistics=usual)  # type: ignore[misc,assignment]
    return detector


def test_a_batch_behind_another_lamp_is_warned_of(images: Path, tmp_path: Path) -> None:
    darker = [images / f"{stem}.png" for stem in "abd"]
    (warning,) = inspect_batch(used_to_bright_images(), darker, tmp_path / "out").warnings
    assert "brightness of this batch as a whole is 0.2, but 0.602 to 0.698 in most" in warning
    assert "Look at the camera first." in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_images_of_an_earlier_run_take_part_in_the_warning(images: Path, tmp_path: Path) -> None:
    darker = [images / f"{stem}.png" for stem in "abd"]
    first, second = (inspect_batch(used_to_bright_images(), darker, tmp_path / "out") for _ in range(2))
    assert (second.kept, second.warnings) == (3, first.warnings)


def test_statistics_are_in_the_json_lines_and_not_told(images: Path, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    inspect_batch(fake(), [images / "a.png"], tmp_path / "out", tell=tell_into(records))
    (line,) = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(line)) - set(records[0]) == {"overlay", "statistics"}


def inspected(detector: Detector) -> list[str]:
    return sorted(cast(FakeDetector, detector).inspected)


def stopped_at_c(images: Path, output: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        inspect_batch(fake(c=KeyboardInterrupt()), [images], output)


def everything_in(output: Path) -> dict[str, bytes]:
    """Return all files of a run but page and summary, which show when they were written."""
    files = [path for path in output.rglob("*") if path.is_file() and path.suffix not in (".html", ".pdf")]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def test_a_stopped_run_goes_on_where_it_was(images: Path, tmp_path: Path) -> None:
    stopped_at_c(images, tmp_path / "out")
    detector, records = fake(), list[dict[str, Any]]()
    counts = inspect_batch(detector, [images], tmp_path / "out", tell=tell_into(records))
    assert inspected(detector) == ["c.png", "d.png"]
    assert counts == BatchCounts(good=3, unsure=0, defective=1, failed=0, kept=2)
    assert [Path(record["path"]).name for record in records] == ["a.png", "b.png", "c.png", "d.png"]


def test_a_resumed_run_leaves_and_tells_what_one_run_does(images: Path, tmp_path: Path) -> None:
    told: dict[str, list[dict[str, Any]]] = {"once": [], "twice": []}
    stopped_at_c(images, tmp_path / "twice")
    for name, records in told.items():
        inspect_batch(fake(), [images], tmp_path / name, tell=tell_into(records))
    assert everything_in(tmp_path / "once") == everything_in(tmp_path / "twice")
    assert json.dumps(told["once"]) == json.dumps(told["twice"])
    pictures = [
        re.findall(r"data:image/jpeg;base64,[^\"]+", (tmp_path / name / "report.html").read_text()) for name in told
    ]
    assert len(pictures[0]) == len(pictures[1]) == 2 * 4 + 1 + 1  # image and overlay each, a comparison, the legend


def test_a_run_that_is_kept_shows_what_it_showed(images: Path, tmp_path: Path) -> None:
    pages, summaries = [], []
    for n_kept in (0, 4):
        assert inspect_batch(fake(), [images], tmp_path / "out").kept == n_kept
        html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        pages.append(re.findall(r'alt="the worst place of c.png|<circle|<td|<svg', html))
        summaries.append((tmp_path / "out" / "report.pdf").read_bytes().count(b"/DCTDecode"))
        assert (tmp_path / "out" / "overlays" / "c.png").is_file()
    assert pages[0] == pages[1]
    assert 'alt="the worst place of c.png' in pages[0]
    assert summaries == [3, 3]  # image, overlay and comparison of the one that was stopped


def test_a_row_whose_comparison_has_gone_is_made_again(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    (tmp_path / "out" / "overlays" / "c.png").unlink()
    assert inspect_batch(fake(), [images], tmp_path / "out").kept == 2
    assert (tmp_path / "out" / "overlays" / "c.png").is_file()


def test_of_a_run_that_is_stopped_page_and_summary_show_what_was_reached(images: Path, tmp_path: Path) -> None:
    stopped_at_c(images, tmp_path / "out")
    (page,) = pypdf.PdfReader(tmp_path / "out" / "report.pdf", strict=True).pages
    assert "Stopped early" in page.extract_text()
    inspect_batch(fake(), [images], tmp_path / "out")
    (page,) = pypdf.PdfReader(tmp_path / "out" / "report.pdf", strict=True).pages
    assert "Stopped early" not in page.extract_text()


@pytest.mark.parametrize(("csv_less", "jsonl_less"), [(1, 0), (20, 0), (40, 20), (40, 1), (200, 0)])
def test_a_row_that_a_kill_cut_short_is_made_again(
    images: Path, tmp_path: Path, csv_less: int, jsonl_less: int
) -> None:
    """The JSON line is written first, then the overlay, then the row of the CSV."""
    inspect_batch(fake(), [images], tmp_path / "out")
    whole = everything_in(tmp_path / "out")
    (tmp_path / "out" / "results.csv").write_bytes(whole["results.csv"][:-csv_less])
    (tmp_path / "out" / "results.jsonl").write_bytes(whole["results.jsonl"][: len(whole["results.jsonl"]) - jsonl_less])
    if jsonl_less:
        (tmp_path / "out" / "overlays" / "d.jpg").unlink()
    detector = fake()
    inspect_batch(detector, [images], tmp_path / "out")
    assert "d.png" in inspected(detector)
    assert everything_in(tmp_path / "out") == whole


def test_another_model_or_threshold_starts_anew(images: Path, tmp_path: Path) -> None:
    stopped_at_c(images, tmp_path / "out")
    detector = fake()
    cast(FakeDetector, detector).fingerprint = "another"
    assert inspect_batch(detector, [images], tmp_path / "out").kept == 0
    assert len(inspected(detector)) == len(rows(tmp_path / "out")) == 4


def test_rows_are_kept_up_to_the_first_image_that_has_changed(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    write_image(images / "b.png", np.full((5, 6), 0.8, dtype=np.float32))
    detector = fake()
    counts = inspect_batch(detector, [images], tmp_path / "out")
    assert inspected(detector) == ["b.png", "c.png", "d.png"]
    assert counts == BatchCounts(good=2, unsure=0, defective=2, failed=0, kept=1)


def test_images_that_came_later_are_added(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    write_image(images / "e.png", np.full((4, 6), 0.9, dtype=np.float32))
    detector = fake()
    inspect_batch(detector, [images], tmp_path / "out")
    assert inspected(detector) == ["e.png"]
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["good", "good", "defective", "good", "defective"]


def test_what_failed_is_kept_while_its_file_is_the_same(images: Path, tmp_path: Path) -> None:
    sources = [images, tmp_path / "missing"]
    first = inspect_batch(fake(b=ImageError("cut off")), sources, tmp_path / "out")
    second = inspect_batch(fake(), sources, tmp_path / "out")
    assert (first.failed, second) == (2, BatchCounts(good=2, unsure=0, defective=1, failed=2, kept=5))


@pytest.mark.parametrize(
    "error", [UnreadError("no permission"), ModelFileError("out of memory"), MemoryError("no room"), cv2.error("ksize")]
)
def test_what_failed_for_a_reason_that_may_pass_is_tried_again(images: Path, tmp_path: Path, error: Exception) -> None:
    first = inspect_batch(fake(b=error), [images], tmp_path / "out")
    second = inspect_batch(fake(), [images], tmp_path / "out")
    assert (first.failed, second) == (1, BatchCounts(good=3, unsure=0, defective=1, failed=0, kept=1))


def test_a_run_that_was_killed_at_once_is_begun_anew(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    for name in ("results.csv", "results.jsonl", "report.html"):
        (tmp_path / "out" / name).unlink()
    for path in (tmp_path / "out" / "overlays").iterdir():
        path.unlink()
    assert inspect_batch(fake(), [images], tmp_path / "out").kept == 0


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_a_table_that_has_gone_is_made_anew(images: Path, tmp_path: Path, name: str) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    assert inspect_batch(fake(), [images], tmp_path / "out").kept == 0
    assert len(rows(tmp_path / "out")) == 4


def test_a_damaged_table_is_made_anew(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    header = (tmp_path / "out" / "results.csv").read_bytes().splitlines(keepends=True)[0]
    (tmp_path / "out" / "results.csv").write_bytes(header + b'"' + b"x" * 200_000)
    assert inspect_batch(fake(), [images], tmp_path / "out").kept == 0
    assert len(rows(tmp_path / "out")) == 4


def test_an_overlay_that_has_gone_is_drawn_again(images: Path, tmp_path: Path) -> None:
    inspect_batch(fake(), [images], tmp_path / "out")
    (tmp_path / "out" / "overlays" / "c.jpg").unlink()
    assert inspect_batch(fake(), [images], tmp_path / "out").kept == 2
    assert (tmp_path / "out" / "overlays" / "c.jpg").exists()


def test_names_with_line_breaks_are_resumed(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", np.zeros((4, 6), dtype=np.float32))
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / 'a\nb,".png')
    for n_kept in (0, 1):
        assert inspect_batch(fake(), [tmp_path / "in"], tmp_path / "out").kept == n_kept


def test_a_foreign_run_json_is_refused_and_kept(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(OutputError, match=r"run\.json"):
        inspect_batch(fake(), [images], tmp_path / "out")
    assert (tmp_path / "out" / "run.json").read_text() == "{}"
