"""A station opens whole or not at all, gives its folder back, and keeps no longer than it was told."""

import time
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import SettingError, StationError, StorageError
from blemish.results import Verdict
from blemish.station import audit, station
from blemish.station.keeping import Retention, set_retention
from blemish.station.station import Station
from blemish.station.store import NewInspection, Store


def wait_for(store: Store, what: str) -> None:
    until = time.monotonic() + 30
    while not audit.entries(store, what=what):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_one_station_at_a_time_has_a_folder(tmp_path: Path) -> None:
    with Station(tmp_path / "s", workers=1), pytest.raises(StationError, match="Another server"):
        Station(tmp_path / "s")
    with Station(tmp_path / "s", workers=1) as again:
        assert again.store.parts() == []


def test_a_station_that_cannot_open_gives_its_folder_back(tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        Station(tmp_path / "s", workers=0)
    with Station(tmp_path / "s", workers=1) as opened:
        assert opened.inspector.n_workers == 1


def test_a_station_that_was_never_started_closes(tmp_path: Path) -> None:
    opened = Station(tmp_path / "s", workers=1)
    opened.close()
    with pytest.raises(StationError, match="closed"):
        opened.store.parts()


def test_retention_is_applied_by_the_running_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "s") as store:
        store.add_part("cap", who="anna")
        store.add_model("cap", b"model", origin="upload", who="anna")
        for data in (b"first", b"second"):
            values: Any = (Verdict.GOOD, 1.0, 2.0, {})
            store.add_inspection(NewInspection("cap", 1, "0" * 64, data, ".png", *values))
        set_retention(store, Retention(image_bytes=6), who="anna")
    monkeypatch.setattr(station, "_FIRST_RETENTION", 0)
    with Station(tmp_path / "s", workers=1) as opened:
        wait_for(opened.store, "retention.run")
        assert [each.image_file is None for each in opened.store.inspections()] == [False, True]


def test_retention_that_fails_is_noted_and_the_station_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StorageError("The disk is gone.")

    monkeypatch.setattr(station, "_FIRST_RETENTION", 0)
    monkeypatch.setattr(station, "apply_retention", refuse)
    with Station(tmp_path / "s", workers=1) as opened:
        wait_for(opened.store, "retention.fail")
        assert opened.store.add_part("cap", who="anna").name == "cap"
