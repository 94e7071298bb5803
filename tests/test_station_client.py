"""The client of a station: the same errors as in the station, and nothing done twice when it asks again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import (
    AccessError,
    BusyError,
    ConflictError,
    ImageError,
    NotFoundError,
    SettingError,
    StationError,
    TrainingError,
)
from blemish.station.client import Client
from blemish.station.people import Role
from blemish.station.station import Station
from serving import station_at


@pytest.fixture(scope="module")
def served_station(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Iterator[tuple[Station, Client]]:
    """A station that knows the part "metal", and a client of it."""
    with station_at(tmp_path_factory.mktemp("client") / "station") as (station, http):
        station.store.add_part("metal", who="test")
        station.teacher.add_model("metal", model_path.read_bytes(), who="test")
        with Client(str(http.base_url)) as client:
            yield station, client


@pytest.fixture
def stained(category_dir: Path) -> Path:
    return category_dir / "test" / "stain" / "000.png"


def test_it_inspects_files_and_bytes_and_finds_the_results(
    served_station: tuple[Station, Client], stained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served_station
    found = [
        client.inspect("metal", image, part_id=str(index), lot_id="A")
        for index, image in enumerate((stained, str(stained), stained.read_bytes()))
    ]
    assert {each["verdict"] for each in found} == {"defective"}
    monkeypatch.setattr("blemish.station.client._PAGE", 2)
    assert [each["id"] for each in client.results(lot_id="A")] == [each["id"] for each in found[::-1]]
    assert [each["part_id"] for each in client.results(lot_id="A", part_id="1", part=None)] == ["1"]
    assert "metal" in [part["name"] for part in client.parts()]


def test_a_busy_station_is_asked_again_with_the_same_name(
    served_station: tuple[Station, Client], stained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station, client = served_station
    inner, names = station.inspector.inspect, []

    def busy_at_first(*arguments: Any, request_id: str, **named: Any) -> Any:
        names.append(request_id)
        if len(names) < 3:
            raise BusyError("All places are taken.", retry_after=0.1)
        return inner(*arguments, request_id=request_id, **named)

    monkeypatch.setattr(station.inspector, "inspect", busy_at_first)
    monkeypatch.setattr("blemish.station.client.time.sleep", lambda seconds: None)
    assert client.inspect("metal", stained)["verdict"] == "defective"
    assert len(names) == 3
    assert len(set(names)) == 1


def test_errors_are_those_of_the_station(served_station: tuple[Station, Client], stained: Path, tmp_path: Path) -> None:
    _station, client = served_station
    with pytest.raises(NotFoundError, match="no part 'none'"):
        client.inspect("none", stained)
    with pytest.raises(ImageError):
        client.inspect("metal", b"no image")
    with pytest.raises(ImageError, match=r"none\.png"):
        client.inspect("metal", tmp_path / "none.png")
    with pytest.raises(SettingError):
        client.inspect("metal", stained, part_id="x" * 201)
    client.inspect("metal", stained, request_id="once")
    with pytest.raises(ConflictError):
        client.inspect("metal", (stained.parent / "001.png"), request_id="once")
    for url, expected in (("http://127.0.0.1:9", "not reached"), ("nonsense", "nonsense")):
        with Client(url, patience=0) as nobody, pytest.raises(StationError, match=expected):
            nobody.parts()


def test_a_token_is_sent_and_its_role_counts(served_station: tuple[Station, Client], stained: Path) -> None:
    station, client = served_station
    secret, _ = station.people.add_token("line", Role.OPERATOR, who="test")
    with Client(client._url, secret) as line:
        assert line.inspect("metal", stained)["source"] == "api:token:line"
        with pytest.raises(AccessError, match="engineer"):
            line.teach("new", stained.parents[2])
    with Client(client._url, secret + "x") as stranger, pytest.raises(AccessError):
        stranger.parts()


def test_it_brings_good_images_and_waits_for_the_job(
    served_station: tuple[Station, Client], category_dir: Path
) -> None:
    station, client = served_station
    job = client.teach("metal new", category_dir, kind="fit", minutes=60)
    assert len(station.store.good_images("metal new")) == 16
    station.teacher.cancel(job["id"], who="test")
    told: list[str] = []
    with pytest.raises(TrainingError, match="cancelled"):
        client.wait(job, told=lambda now: told.append(now["state"]))
    assert told == ["cancelled"]
