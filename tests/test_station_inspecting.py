"""Whatever comes in is stored and answered, or refused and not stored; nothing is inspected twice."""

import errno
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from blemish import Detector
from blemish.detection.model_file import model_to_bytes
from blemish.errors import (
    BlemishError,
    BusyError,
    ConflictError,
    ImageError,
    ModelFileError,
    NotFoundError,
    SettingError,
    StationError,
    StorageError,
)
from blemish.results import Inspection, Verdict
from blemish.station.inspecting import STATISTICS, Inspector
from blemish.station.keeping import check
from blemish.station.store import Store, StoredInspection


@pytest.fixture
def store(tmp_path: Path, model_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        opened.add_part("metal", who="anna")
        opened.add_part("untaught", who="anna")
        opened.add_model("metal", model_path.read_bytes(), origin="upload", who="anna", activate=True)
        yield opened


@pytest.fixture
def inspector(store: Store) -> Iterator[Inspector]:
    with Inspector(store, workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def good(category_dir: Path) -> bytes:
    return (category_dir / "test" / "good" / "000.png").read_bytes()


@pytest.fixture(scope="module")
def stained(category_dir: Path) -> bytes:
    return (category_dir / "test" / "stain" / "000.png").read_bytes()


def files_of(store: Store) -> set[str]:
    found = [path for top in ("images", "pictures", "incoming") for path in (store.folder / top).rglob("*")]
    return {path.relative_to(store.folder).as_posix() for path in found if path.is_file()}


class Gate:
    """Holds up whoever inspects, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.arrived = threading.Semaphore(0)
        inspect = Detector.inspect

        def held(detector: Detector, image: Any) -> Inspection:
            self.arrived.release()
            assert self.is_open.wait(20)
            return inspect(detector, image)

        monkeypatch.setattr(Detector, "inspect", held)


# ------------------------------------------------------------------------------------------------------ what is stored


def test_what_is_stored_is_what_the_model_finds(
    store: Store, inspector: Inspector, detector: Detector, category_dir: Path
) -> None:
    for path in sorted((category_dir / "test").rglob("*.png")):
        expected = detector.inspect(path)
        stored = inspector.inspect("metal", path.read_bytes(), part_id="7", lot_id="L", source="api")
        assert stored == store.inspection(stored.id)
        assert stored.verdict is expected.verdict
        assert stored.score == pytest.approx(expected.score, abs=1e-4)
        assert stored.threshold == detector.threshold.value
        assert (stored.part, stored.version, stored.part_id, stored.lot_id) == ("metal", 1, "7", "L")
        assert stored.model_sha256 == store.model("metal").sha256
        assert len(stored.result["regions"]) == len(expected.regions)
        assert stored.result[STATISTICS]["height"] == expected.height
        assert stored.image_file is not None
        assert stored.picture_file is not None
        assert store.path(stored.image_file).read_bytes() == path.read_bytes()
        picture = cv2.imread(str(store.path(stored.picture_file)))
        assert picture is not None
        assert picture.shape == (expected.height, expected.width, 3)
        assert inspector.again(stored).score == stored.score
    assert check(store).is_whole
    assert {each.verdict for each in store.inspections()} >= {Verdict.GOOD, Verdict.DEFECTIVE}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_the_suffix_tells_what_the_bytes_are(inspector: Inspector, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 70), dtype=np.uint8)
    extension = suffix if suffix != ".tif" else ".tiff"
    stored = inspector.inspect("metal", cv2.imencode(extension, pixels)[1].tobytes())
    assert stored.image_file is not None
    assert stored.image_file.endswith(suffix)


def test_the_model_that_is_active_judges(
    store: Store, inspector: Inspector, detector: Detector, stained: bytes
) -> None:
    assert inspector.inspect("metal", stained).verdict is Verdict.DEFECTIVE
    lenient = model_to_bytes(detector.with_threshold(1e9, who="anna").model)
    store.add_model("metal", lenient, origin="threshold", who="anna", parent=1, activate=True)
    stored = inspector.inspect("metal", stained)
    assert (stored.verdict, stored.version) == (Verdict.GOOD, 2)
    store.roll_back("metal", who="anna")
    assert inspector.inspect("metal", stained).verdict is Verdict.DEFECTIVE
    assert inspector.again(stored).verdict is Verdict.GOOD  # by the version that judged it then


def test_results_go_to_the_sinks_of_their_part(store: Store, good: bytes) -> None:
    store.add_model("untaught", store.path(store.model("metal").file).read_bytes(), origin="upload", who="a")
    store.activate("untaught", 1, who="a")
    wanted = {"metal": ("all", "metal"), "untaught": ("all",)}

    def payload(stored: StoredInspection) -> dict[str, Any]:
        return {"id": stored.id}

    with Inspector(store, workers=1, sinks=lambda part: wanted[part], payload=payload) as inspector:
        first, second = inspector.inspect("metal", good), inspector.inspect("untaught", good)
    assert [each.payload["id"] for each in store.waiting("all", limit=9)] == [first.id, second.id]
    assert [each.payload["id"] for each in store.waiting("metal", limit=9)] == [first.id]


# ------------------------------------------------------------------------------------------------------- request ids


def test_the_same_request_is_inspected_once(store: Store, inspector: Inspector, good: bytes) -> None:
    first = inspector.inspect("metal", good, request_id="r")
    assert inspector.inspect("metal", good, request_id="r") == first
    assert store.inspections() == [first]
    assert inspector.statistics()["seconds"]["count"] == 1


def test_the_same_request_many_times_at_once_is_inspected_once(
    store: Store, inspector: Inspector, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(inspector.inspect, "metal", good, request_id="r") for _ in range(8)]
        assert gate.arrived.acquire(timeout=20)
        gate.is_open.set()
        stored = {each.result().id for each in asked}
    assert stored == {each.id for each in store.inspections()}
    assert len(stored) == 1
    assert not gate.arrived.acquire(blocking=False)


@pytest.mark.parametrize("empty", [None, ""])
def test_requests_without_a_name_are_all_inspected(store: Store, inspector: Inspector, good: bytes, empty: Any) -> None:
    inspector.inspect("metal", good, request_id=empty)
    inspector.inspect("metal", good, request_id=empty)
    assert len(store.inspections()) == 2


def test_the_name_of_another_request_is_refused(
    store: Store, inspector: Inspector, good: bytes, stained: bytes
) -> None:
    stored = inspector.inspect("metal", good, request_id="r")
    for part, data in (("metal", stained), ("untaught", good)):
        with pytest.raises(ConflictError, match=stored.id):
            inspector.inspect(part, data, request_id="r")
    assert store.inspections() == [stored]


def test_a_request_that_failed_may_come_again(store: Store, inspector: Inspector, good: bytes) -> None:
    with pytest.raises(NotFoundError):
        inspector.inspect("untaught", good, request_id="r")
    assert inspector.inspect("metal", good, request_id="r").request_id == "r"


# ---------------------------------------------------------------------------------------------------------- overload


def test_overload_is_refused_at_once_and_passes(store: Store, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    with Inspector(store, workers=1, waiting=2) as inspector, ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(inspector.inspect, "metal", good, request_id=str(index)) for index in range(3)]
        assert gate.arrived.acquire(timeout=20)
        while inspector.n_waiting < 2:
            pass
        for _ in range(3):
            with pytest.raises(BusyError) as refused:
                inspector.inspect("metal", good, request_id="more")
            assert 0 < refused.value.retry_after < 60
        assert store.inspections() == []
        gate.is_open.set()
        assert {each.result().request_id for each in asked} == {"0", "1", "2"}
        assert inspector.inspect("metal", good, request_id="more").request_id == "more"
        assert inspector.n_waiting == 0
        assert inspector.statistics()["refused"] == 3
    assert len(store.inspections()) == 4


def test_an_earlier_answer_is_given_also_under_overload(
    store: Store, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Inspector(store, workers=1, waiting=0) as inspector, ThreadPoolExecutor(1) as threads:
        earlier = inspector.inspect("metal", good, request_id="r")
        gate = Gate(monkeypatch)
        asked = threads.submit(inspector.inspect, "metal", good)
        assert gate.arrived.acquire(timeout=20)
        assert inspector.inspect("metal", good, request_id="r") == earlier
        gate.is_open.set()
        asked.result()


def test_a_closed_inspector_takes_nothing_and_lets_what_it_has_end(
    store: Store, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    inspector = Inspector(store, workers=1)
    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(inspector.inspect, "metal", good)
        news = threads.submit(inspector.wait_for, 0, 20)
        assert gate.arrived.acquire(timeout=20)
        closing = threading.Thread(target=inspector.close)
        closing.start()
        assert news.result() == []
        with pytest.raises(StationError, match="closing"):
            inspector.inspect("metal", good)
        gate.is_open.set()
        assert asked.result() == store.inspections()[0]
        closing.join()


# ------------------------------------------------------------------------------------------------------------- faults


def test_a_model_file_that_was_replaced_is_refused_also_while_in_use(
    store: Store, inspector: Inspector, detector: Detector, good: bytes
) -> None:
    path = store.path(store.model("metal").file)
    original = path.read_bytes()
    stored = inspector.inspect("metal", good)
    path.write_bytes(model_to_bytes(detector.with_threshold(1e9, who="mallory").model))
    for act in (lambda: inspector.inspect("metal", good), lambda: inspector.again(stored)):
        with pytest.raises(ModelFileError, match="changed after it was stored"):
            act()
    path.unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        inspector.inspect("metal", good)
    assert store.inspections() == [stored]
    path.write_bytes(original)
    assert inspector.inspect("metal", good).score == stored.score


def test_another_version_inspects_where_one_was_replaced(
    store: Store, inspector: Inspector, model_path: Path, good: bytes
) -> None:
    store.add_model("metal", model_path.read_bytes(), origin="upload", who="anna")
    store.path(store.model("metal").file).write_bytes(b"")
    with pytest.raises(ModelFileError):
        inspector.inspect("metal", good)
    store.activate("metal", 2, who="anna")
    assert inspector.inspect("metal", good).version == 2


def bomb() -> bytes:
    """Return a PNG of some kilobytes whose header declares a gigapixel."""
    data = bytearray(cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes())
    data[16:24] = (40000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"no image", "not an image"), (bomb(), "more than"), (b"\x89PNG\r\n\x1a\n" * 99, "image")],
)
def test_what_is_no_image_is_refused_and_not_stored(
    store: Store, inspector: Inspector, data: bytes, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        inspector.inspect("metal", data)
    assert store.inspections() == []
    assert files_of(store) == set()
    assert inspector.statistics()["failed"] == 1


def test_a_truncated_image_is_refused(store: Store, inspector: Inspector, good: bytes) -> None:
    with pytest.raises(ImageError, match="truncated"):
        inspector.inspect("metal", good[: len(good) // 2])
    assert files_of(store) == set()


def test_whatever_goes_wrong_with_one_image_the_next_is_inspected(
    inspector: Inspector, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Detector, "inspect", lambda *_: np.zeros(2**62))
        with pytest.raises(ImageError, match="free memory"):
            inspector.inspect("metal", good)
    assert inspector.inspect("metal", good).part == "metal"


def test_a_full_disk_leaves_nothing_and_the_same_request_succeeds_later(
    store: Store, inspector: Inspector, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":  # the image fits, the picture does not any more
            path.write_bytes(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr("blemish.station.store._write_durably", no_room)
        with pytest.raises(StorageError, match="No space"):
            inspector.inspect("metal", good, request_id="r")
    assert store.inspections() == []
    assert files_of(store) == set()
    assert inspector.inspect("metal", good, request_id="r").request_id == "r"
    assert check(store).is_whole


def test_what_must_stay_free_of_a_disk_stays_free(tmp_path: Path, model_path: Path, good: bytes) -> None:
    with Store(tmp_path / "station") as store:
        store.add_part("metal", who="anna")
        store.add_model("metal", model_path.read_bytes(), origin="upload", who="anna", activate=True)
    with Store(tmp_path / "station", reserve_bytes=2**62) as store, Inspector(store, workers=1) as inspector:
        with pytest.raises(StorageError, match="must stay"):
            inspector.inspect("metal", good)
        assert files_of(store) == set()


@pytest.mark.parametrize(
    "wrong",
    [{"part_id": "x" * 201}, {"lot_id": "a\nb"}, {"source": "\ud800"}, {"request_id": "\x00"}, {"part": "\udcff"}],
)
def test_texts_that_cannot_be_shown_or_stored_are_refused(
    store: Store, inspector: Inspector, good: bytes, wrong: dict[str, str]
) -> None:
    with pytest.raises(SettingError, match="printable"):
        inspector.inspect(**{"part": "metal", **wrong}, data=good)  # type: ignore[arg-type]
    assert store.inspections() == []


def test_parts_that_are_not_there_or_not_taught_are_named(inspector: Inspector, good: bytes) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        inspector.inspect("nothing", good)
    with pytest.raises(NotFoundError, match="Teach it"):
        inspector.inspect("untaught", good)


def test_an_image_that_retention_removed_is_not_inspected_again(
    store: Store, inspector: Inspector, good: bytes
) -> None:
    stored = inspector.inspect("metal", good)
    assert stored.image_file is not None
    store.remove_files([stored.image_file])
    with pytest.raises(NotFoundError, match="retention"):
        inspector.again(store.inspection(stored.id))


# --------------------------------------------------------------------------------------------------------------- news


def test_who_waits_hears_of_every_inspection_in_order(store: Store, inspector: Inspector, good: bytes) -> None:
    heard: list[int] = []

    def listen() -> None:
        while len(heard) < 12:
            heard.extend(each.sequence for each in inspector.wait_for(heard[-1] if heard else 0, 20))

    listener = threading.Thread(target=listen)
    listener.start()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: inspector.inspect("metal", good), range(12)))
    listener.join()
    assert heard == [each.sequence for each in store.inspections(after=0)]
    assert inspector.wait_for(heard[-1], 0) == []
    assert inspector.newest == heard[-1]


def test_numbers_for_metrics_add_up(inspector: Inspector, good: bytes, stained: bytes) -> None:
    for data in (good, stained, b""):
        try:
            inspector.inspect("metal", data)
        except BlemishError:
            continue
    told = inspector.statistics()
    assert sum(told["verdicts"]["metal"].values()) == told["seconds"]["count"] == 2
    assert told["verdicts"]["metal"]["defective"] >= 1
    counts = [count for _, count in told["seconds"]["buckets"]]
    assert counts == sorted(counts)
    assert (told["failed"], told["refused"], told["waiting"], told["workers"]) == (1, 0, 0, 2)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"waiting": -1}])
def test_an_inspector_needs_workers(store: Store, wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError):
        Inspector(store, **wrong)  # type: ignore[arg-type]
