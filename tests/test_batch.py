"""A batch ends with a row for everything it was given; only nothing to do, or nowhere to write, stops it."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from blemish.detection.detector import Detector
from blemish.errors import DatasetError, ImageError, OutputError
from blemish.images import read_image, write_image
from blemish.report.batch import BatchCounts, inspect_batch
from blemish.report.writer import ResultWriter
from blemish.results import Inspection, Threshold, Verdict

LIMIT = 0.5


class FakeDetector:
    """Finds an image defective when its brightest pixel is above the limit; fails on files named in `failures`."""

    description = SimpleNamespace(category="plate", good_statistics={})
    threshold = Threshold(value=LIMIT, alpha=0.01, promised_alpha=0.01, n_images=99)

    def __init__(self, failures: dict[str, BaseException] | None = None) -> None:
        self.failures = failures or {}

    def inspect(self, path: Path) -> Inspection:
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
            image=image,
            anomaly_map=image,
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

    monkeypatch.setattr(ResultWriter, "add", fail)
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
        counts = inspect_batch(fake(), [images], images / "out")
        assert counts == BatchCounts(good=3, unsure=0, defective=1, failed=0)


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


def test_a_batch_behind_another_lamp_is_warned_of(images: Path, tmp_path: Path) -> None:
    usual = {"brightness": np.linspace(0.6, 0.7, 40).tolist()}
    detector = fake()
    detector.description = SimpleNamespace(category="plate", good_statistics=usual)  # type: ignore[misc,assignment]
    darker = [images / f"{stem}.png" for stem in "abd"]
    (warning,) = inspect_batch(detector, darker, tmp_path / "out").warnings
    assert "brightness of this batch as a whole is 0.2, but 0.602 to 0.698 in most" in warning
    assert "Look at the camera first." in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
