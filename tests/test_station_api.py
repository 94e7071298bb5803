"""The API of a station: what is asked for is done, stored and told, and nothing that is sent does harm."""

import csv
import io
import json
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from blemish.detection.detector import Detector
from blemish.errors import BusyError, StorageError
from blemish.images import decode_image
from blemish.report.overlay import encode_png, heat_map, heat_scale
from blemish.results import Verdict
from blemish.station.api import showing
from blemish.station.api.showing import event
from blemish.station.guard import LOG
from blemish.station.station import Station
from blemish.station.store import NewInspection
from serving import station_at

Both = tuple[Station, httpx.Client]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, model_path: Path, category_dir: Path) -> Iterator[Both]:
    """A station that knows the part "metal", and may be sent paths below the category."""
    with station_at(tmp_path_factory.mktemp("taught") / "station", allowed=[category_dir]) as (station, client):
        station.store.add_part("metal", who="test")
        station.teacher.add_model("metal", model_path.read_bytes(), who="test")
        yield station, client


@pytest.fixture(scope="module")
def good(detector: Detector, category_dir: Path) -> bytes:
    """A good image that the model lets pass."""
    images = sorted((category_dir / "test" / "good").iterdir())
    return next(path for path in images if detector.inspect(path).verdict is Verdict.GOOD).read_bytes()


@pytest.fixture
def stained(category_dir: Path) -> bytes:
    return (category_dir / "test" / "stain" / "000.png").read_bytes()


def inspect(client: httpx.Client, image: bytes, **query: str) -> dict[str, Any]:
    answer = client.post(
        "/api/v1/parts/metal/inspect", params=query, content=image, headers={"content-type": "image/png"}
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


# ----------------------------------------------------------------------------------------------------------- inspecting


def test_an_image_is_inspected_as_body_form_and_path(taught: Both, stained: bytes, category_dir: Path) -> None:
    station, client = taught
    url = "/api/v1/parts/metal/inspect"
    path = str(category_dir / "test" / "stain" / "000.png")
    answers = [
        client.post(
            url, content=stained, headers={"content-type": "image/png"}, params={"part_id": "7", "lot_id": "A"}
        ),
        client.post(url, content=stained, headers={"content-type": "application/octet-stream"}),
        client.post(url, files={"file": ("nonsense.txt", stained, "text/plain")}),
        client.post(url, json={"path": path}),
    ]
    assert [answer.status_code for answer in answers] == [201] * 4
    found = [answer.json() for answer in answers]
    assert {each["verdict"] for each in found} == {"defective"}
    assert len({each["score"] for each in found}) == 1
    assert len({each["id"] for each in found}) == 4
    assert (found[0]["part_id"], found[0]["lot_id"], found[0]["source"]) == ("7", "A", "api:local")
    assert found[0]["result"]["regions"]
    for each in found:
        stored = station.store.inspection(each["id"])
        assert station.store.path(stored.image_file or "").read_bytes() == stained
        assert client.get(f"/api/v1/inspections/{each['id']}").json() == each
        assert "file" not in json.dumps(sorted(each)), "names of files stay inside"


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_request_that_comes_again_is_inspected_once(taught: Both, good: bytes, stained: bytes, how: str) -> None:
    _, client = taught

    def send(image: bytes) -> httpx.Response:
        named = {"params": {"request_id": "q1"}} if how == "query" else {"headers": {"idempotency-key": "h1"}}
        headers = {"content-type": "image/png", **named.pop("headers", {})}
        return client.post("/api/v1/parts/metal/inspect", content=image, headers=headers, **named)  # type: ignore[arg-type]

    first, second = send(good), send(good)
    assert first.json() == second.json()
    assert error_of(send(stained)) == (409, "ConflictError")


def bomb(side: int) -> bytes:
    """A PNG whose header declares ``side`` x ``side`` pixels, with little behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "image", [b"", b"nothing", bomb(65_000), bomb(2**31 - 1)], ids=["empty", "text", "bomb", "huge"]
)
@pytest.mark.parametrize("how", ["inspect", "good"])
def test_what_is_no_image_is_refused_and_nothing_kept(taught: Both, image: bytes, how: str) -> None:
    station, client = taught
    before = station.inspector.newest, len(station.store.good_images("metal"))
    if how == "inspect":
        answer = client.post(
            "/api/v1/parts/metal/inspect", content=image, headers={"content-type": "application/octet-stream"}
        )
        assert error_of(answer) == (422, "ImageError")
    else:
        answer = client.post("/api/v1/parts/metal/good", files={"files": ("a.png", image)})
        assert answer.json()["added"] == []
        assert "a.png" in answer.json()["refused"][0]
    assert (station.inspector.newest, len(station.store.good_images("metal"))) == before


def test_a_body_of_another_kind_is_refused(taught: Both, good: bytes) -> None:
    _, client = taught
    url = "/api/v1/parts/metal/inspect"
    assert error_of(client.post(url, content=good, headers={"content-type": "text/html"})) == (415, "RequestError")
    assert error_of(client.post(url, content=good)) == (415, "RequestError")
    assert error_of(client.post(url, data={"file": "text"}, files={"other": good}))[0] in (400, 422)
    assert error_of(client.post(url, json={"path": 3})) == (422, "SettingError")
    assert error_of(client.post(url, json=[])) == (422, "SettingError")


def test_a_part_that_was_not_taught_inspects_nothing(taught: Both, good: bytes) -> None:
    station, client = taught
    if "untaught" not in {part.name for part in station.store.parts()}:
        station.store.add_part("untaught", who="test")
    for part in ("untaught", "none", "..", "%2e%2e%2fmetal"):
        answer = client.post(f"/api/v1/parts/{part}/inspect", content=good, headers={"content-type": "image/png"})
        assert answer.status_code in (404, 405)


@pytest.fixture
def outside(tmp_path: Path, category_dir: Path, good: bytes) -> Iterator[list[str]]:
    """Paths that lead out of the allowed folder, and what in it is no file."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(good)
    link, folder_link, pipe = category_dir / "link.png", category_dir / "linked", category_dir / "pipe.png"
    link.symlink_to(secret)
    folder_link.symlink_to(tmp_path)
    os.mkfifo(pipe)
    inside = category_dir / "test" / "good" / "000.png"
    yield [
        str(secret),
        str(link),
        str(folder_link / "secret.png"),
        f"{category_dir}/../{category_dir.name}/../{tmp_path.name}/secret.png",
        f"{category_dir}{os.sep}..{os.sep}x",
        str(inside.relative_to(category_dir)),
        f"{category_dir}2/000.png",
        str(pipe),
        str(category_dir),
        str(inside) + "\0.png",
        str(inside) + "x" * 300,
        "/etc/passwd",
        "",
    ]
    for made in (link, folder_link, pipe):
        made.unlink()


def test_only_files_below_an_allowed_folder_are_read(taught: Both, outside: list[str]) -> None:
    station, client = taught
    newest = station.inspector.newest
    for path in outside:
        answer = client.post("/api/v1/parts/metal/inspect", json={"path": path})
        assert error_of(answer) == (422, "SettingError"), path
    assert station.inspector.newest == newest
    assert "No such file" not in client.post("/api/v1/parts/metal/inspect", json={"path": "/etc/none"}).text


def test_a_busy_station_says_when_to_come_again_and_a_full_disk_that_it_is(
    taught: Both, good: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    station, client = taught

    def n_busy() -> float:
        found = re.search(r'http_requests_total\{status="503"\} (\S+)', client.get("/metrics").text)
        return float(found[1]) if found else 0

    before = n_busy()

    def refuse(error: Exception) -> Any:
        def inspect(*_: object, **__: object) -> None:
            raise error

        return inspect

    for error, expected, wait in (
        (BusyError("All places are taken.", retry_after=2.3), 503, "3"),
        (StorageError("The disk is full."), 507, None),
    ):
        monkeypatch.setattr(station.inspector, "inspect", refuse(error))
        answer = client.post("/api/v1/parts/metal/inspect", content=good, headers={"content-type": "image/png"})
        assert error_of(answer) == (expected, type(error).__name__)
        assert answer.headers.get("retry-after") == wait
    assert n_busy() == before + 1
    logged = [record.getMessage() for record in caplog.records if record.name == LOG.name]
    assert logged == ["StorageError: The disk is full."]


def test_others_are_answered_while_images_are_inspected(
    taught: Both, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    station, client = taught
    began, may_go = threading.Semaphore(0), threading.Event()
    inner = station.inspector.inspect

    def slow(*arguments: Any, **named: Any) -> Any:
        began.release()
        assert may_go.wait(60)
        return inner(*arguments, **named)

    monkeypatch.setattr(station.inspector, "inspect", slow)
    threads = [threading.Thread(target=inspect, args=(client, good)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert began.acquire(timeout=60)
    assert client.get("/health").status_code == 200
    assert client.get("/api/v1/parts").status_code == 200
    may_go.set()
    for thread in threads:
        thread.join()


# -------------------------------------------------------------------------------------------------------------- results


def test_results_are_found_by_filter_and_page(taught: Both, good: bytes, stained: bytes) -> None:
    _, client = taught
    lot = "pages"
    ids = [inspect(client, image, lot_id=lot)["id"] for image in (good, stained, good)]
    found = client.get("/api/v1/inspections", params={"lot_id": lot}).json()
    assert [each["id"] for each in found["items"]] == ids[::-1]
    assert found["counts"] == {"good": 2, "unsure": 0, "defective": 1}
    assert found["next"] is None
    first = client.get("/api/v1/inspections", params={"lot_id": lot, "limit": 2}).json()
    rest = client.get("/api/v1/inspections", params={"lot_id": lot, "limit": 2, "before": first["next"]}).json()
    assert [each["id"] for page in (first, rest) for each in page["items"]] == ids[::-1]
    stopped = client.get("/api/v1/inspections", params={"lot_id": lot, "verdict": "defective"}).json()
    assert [each["id"] for each in stopped["items"]] == [ids[1]]
    at = found["items"][1]["at"]
    for name, expected in (("since", ids[:0:-1]), ("until", [ids[0]])):
        part = client.get("/api/v1/inspections", params={"lot_id": lot, name: at}).json()
        assert [each["id"] for each in part["items"]] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", "2026-01-01T00:00:00"),
        ("since", "0001-01-01T00:00:00+14:00"),
        ("until", "yesterday"),
        ("verdict", "bad"),
        ("least_score", "nan"),
        ("before", str(2**63)),
        ("limit", "501"),
        ("limit", "0"),
        ("version", "-1"),
        ("part", "x" * 201),
    ],
)
def test_a_filter_that_makes_no_sense_is_said_to(taught: Both, name: str, value: str) -> None:
    answer = taught[1].get("/api/v1/inspections", params={name: value})
    assert error_of(answer) == (422, "SettingError")
    assert name in answer.json()["error"]["message"]


def test_exports_have_every_row_and_no_formula(taught: Both, good: bytes, stained: bytes) -> None:
    _, client = taught
    part_id = '=HYPERLINK("http://evil.example")'
    for image in (good, stained):
        inspect(client, image, lot_id="export", part_id=part_id)
    table = client.get("/api/v1/inspections.csv", params={"lot_id": "export"})
    lines = client.get("/api/v1/inspections.jsonl", params={"lot_id": "export"})
    assert table.headers["content-type"].startswith("text/csv")
    assert "attachment" in table.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    records = [json.loads(line) for line in lines.text.splitlines()]
    assert [row["verdict"] for row in rows] == [record["verdict"] for record in records] == ["good", "defective"]
    assert {row["part_id"] for row in rows} == {"'" + part_id}
    assert {record["part_id"] for record in records} == {part_id}
    assert [float(row["score"]) for row in rows] == [record["score"] for record in records]
    assert records[1] == client.get(f"/api/v1/inspections/{records[1]['id']}").json()


def test_an_export_goes_on_beyond_what_is_read_at_once(taught: Both) -> None:
    station, client = taught
    new = NewInspection(
        part="metal",
        version=1,
        model_sha256="",
        data=b"x",
        suffix=".png",
        verdict=Verdict.GOOD,
        score=0.0,
        threshold=1.0,
        result={},
        lot_id="many",
    )
    n_rows = 503
    with station.store.transaction():
        for _ in range(n_rows):
            station.store.add_inspection(new)
    lines = client.get("/api/v1/inspections.csv", params={"lot_id": "many"}).text.splitlines()
    assert len(lines) == 1 + n_rows
    assert len(set(lines)) == 1 + n_rows


def test_pictures_are_what_they_are_called_and_can_run_nothing(
    taught: Both, stained: bytes, detector: Detector
) -> None:
    _, client = taught
    key = inspect(client, stained)["id"]
    url = f"/api/v1/inspections/{key}"
    height, width = decode_image(stained).shape
    for path, kind, shape in (
        ("image", "image/png", (height, width)),
        ("image?side=64", "image/jpeg", (64, round(64 * width / height))),
        ("picture", "image/jpeg", (height, width)),
        ("heat", "image/png", (height, width)),
        ("nearest", "image/png", None),
    ):
        answer = client.get(f"{url}/{path}")
        if path == "nearest" and answer.status_code == 404:
            continue  # this model keeps no pictures of good places
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        picture = decode_image(answer.content)
        assert shape is None or picture.shape == shape
    assert client.get(f"{url}/image").content == stained
    found = detector.inspect(decode_image(stained))
    expected = encode_png(heat_map(found.anomaly_map, *heat_scale(found.threshold)))
    heat = decode_image(client.get(f"{url}/heat").content)
    assert heat.max() > heat.min()
    np.testing.assert_allclose(heat, decode_image(expected), atol=0.01)


def test_a_good_part_has_no_worst_place(taught: Both, good: bytes) -> None:
    _, client = taught
    answer = client.get(f"/api/v1/inspections/{inspect(client, good)['id']}/nearest")
    assert error_of(answer) == (404, "NotFoundError")


def test_an_image_that_was_removed_is_said_to_be(taught: Both, stained: bytes) -> None:
    station, client = taught
    key = inspect(client, stained)["id"]
    with station.store.transaction() as connection:
        connection.execute("UPDATE inspections SET image_file = NULL, picture_file = NULL WHERE id = ?", (key,))
    found = client.get(f"/api/v1/inspections/{key}").json()
    assert (found["has_image"], found["has_picture"]) == (False, False)
    for path in ("image", "picture", "heat", "nearest"):
        assert error_of(client.get(f"/api/v1/inspections/{key}/{path}")) == (404, "NotFoundError")


def test_people_decide_and_the_last_verdict_counts(taught: Both, stained: bytes) -> None:
    _station, client = taught
    key = inspect(client, stained)["id"]
    url = f"/api/v1/inspections/{key}/decisions"
    assert client.post(url, json={"comment": "a hair?"}).status_code == 201
    assert client.post(url, json={"verdict": "good", "comment": "wiped off"}).json()["overrules"] is True
    assert error_of(client.post(url, json={})) == (422, "SettingError")
    assert error_of(client.post(url, json={"verdict": "unsure"})) == (422, "SettingError")
    said = client.get(url).json()
    assert [each["verdict"] for each in said] == [None, "good"]
    assert {each["who"] for each in said} == {"local"}
    found = client.get(f"/api/v1/inspections/{key}").json()
    assert (found["verdict"], found["decided"], found["final"]) == ("defective", "good", "good")
    entries = client.get("/api/v1/audit", params={"what": "decision."}).json()["items"]
    assert [entry["what"] for entry in entries[:2]] == ["decision.overrule", "decision.comment"]
    assert client.get("/api/v1/audit/verify").json()["is_whole"] is True


def test_what_comes_is_told_and_nothing_missed(taught: Both, good: bytes, stained: bytes) -> None:
    station, client = taught
    before = station.inspector.newest
    sent = [inspect(client, image)["sequence"] for image in (good, stained)]

    def told(n: int, **headers: str) -> list[int]:
        with client.stream("GET", f"/api/v1/inspections/events?part=metal&after={before}", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            data = (line.partition(" ")[2] for line in answer.iter_lines() if line.startswith("data:"))
            return [json.loads(next(data))["sequence"] for _ in range(n)]

    assert told(2) == sent
    assert told(1, **{"last-event-id": str(sent[0])}) == sent[1:]  # as a browser that was cut off


def test_a_quiet_stream_says_that_it_lives(taught: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "_ALIVE_SECONDS", 0)
    with taught[1].stream("GET", "/api/v1/inspections/events") as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(3)] == [": listening", "event: alive", "data: {}"]


def test_who_knows_more_than_there_is_hears_what_comes_next(taught: Both, good: bytes) -> None:
    station, client = taught  # as after a restore of an older backup
    headers = {"last-event-id": str(station.inspector.newest + 1000)}
    with client.stream("GET", "/api/v1/inspections/events", headers=headers) as answer:
        lines = answer.iter_lines()
        next(lines)  # it listens
        sent = inspect(client, good)["sequence"]
        assert next(line for line in lines if line.startswith("id:")) == f"id: {sent}"


# ----------------------------------------------------------------------------------------------------- parts and models


def test_a_part_is_added_shown_and_put_away(taught: Both) -> None:
    _, client = taught
    part = client.post("/api/v1/parts", json={"name": "Kühler 3"}).json()
    assert (part["active"], part["archived"], part["n_good"]) == (None, False, 0)
    url = "/api/v1/parts/K%C3%BChler%203"
    assert client.get(url).json() == part
    assert client.post(f"{url}/archive", json={"archived": True}).json()["archived"] is True
    names = [each["name"] for each in client.get("/api/v1/parts").json()]
    assert part["name"] not in names
    assert part["name"] in [each["name"] for each in client.get("/api/v1/parts?archived=true").json()]
    assert error_of(client.post("/api/v1/parts", json={"name": "../x"})) == (422, "SettingError")
    assert error_of(client.post("/api/v1/parts", content=b'{"name": "\\ud800"}', headers=JSON)) == (422, "SettingError")


JSON = {"content-type": "application/json"}


def test_good_images_are_kept_shown_and_left_out(taught: Both, good: bytes) -> None:
    station, client = taught
    client.post("/api/v1/parts", json={"name": "with good"})
    url = "/api/v1/parts/with good/good"
    name = "../../<b>part 1</b>.png"
    answer = client.post(url, files=[("files", (name, good)), ("files", ("copy.png", good))]).json()
    assert len({image["id"] for image in answer["added"]}) == 1  # the same bytes are the same image
    image = answer["added"][0]
    shown = client.get(f"/api/v1/good/{image['id']}/image")
    assert (shown.content, shown.headers["content-type"]) == (good, "image/png")
    assert "<" not in shown.headers["content-disposition"]
    assert decode_image(client.get(f"/api/v1/good/{image['id']}/image?side=32").content).shape[0] == 32
    assert client.put(f"/api/v1/good/{image['id']}", json={"used": False}).json()["used"] is False
    assert client.get("/api/v1/parts/with good").json()["n_good"] == 0
    assert [each["used"] for each in client.get(url).json()] == [False]
    assert station.store.path(station.store.good_image(image["id"]).file).read_bytes() == good


def test_versions_come_go_and_compare(taught: Both, good: bytes, stained: bytes, model_path: Path) -> None:
    _station, client = taught
    client.post("/api/v1/parts", json={"name": "versions"})
    url = "/api/v1/parts/versions"
    files = {"file": ("m.blemish", model_path.read_bytes())}
    first = client.post(f"{url}/models", params={"why": "from the lab"}, files=files).json()
    assert (first["version"], first["origin"], first["why"]) == (1, "upload", "from the lab")
    assert client.get(f"{url}/models/1/file").content == model_path.read_bytes()
    assert error_of(client.post(f"{url}/models", files={"file": b"no model"})) == (422, "ModelFileError")
    low = client.get(f"{url}/threshold").json()["threshold"]["value"] / 1000
    second = client.put(f"{url}/threshold", json={"value": low, "why": "too lax"}).json()
    assert (second["version"], second["parent"]) == (2, 1)
    assert client.get(f"{url}/threshold").json()["threshold"]["value"] == pytest.approx(low)
    for image in (good, stained):
        answer = client.post(f"{url}/inspect", content=image, headers={"content-type": "image/png"}).json()
        assert (answer["version"], answer["verdict"]) == (2, "defective")
    compared = client.get(f"{url}/compare", params={"a": 1, "b": 2}).json()
    assert [(image["a"]["verdict"], image["b"]["verdict"]) for image in compared["images"]] == [
        ("defective", "defective"),
        ("good", "defective"),
    ]
    assert compared["n_differing"] == 1
    what_if = client.get(f"{url}/threshold").json()
    assert [each["final"] for each in what_if["inspections"]] == ["defective", "defective"]
    assert what_if["good"] == sorted(what_if["good"])
    assert client.post(f"{url}/roll-back", json={"why": "no"}).json()["version"] == 1
    assert client.post(f"{url}/models/2/activate", json={}).json()["version"] == 2
    assert [each["version"] for each in client.get(f"{url}/activations").json()] == [2, 1, 2, 1]
    assert [each["version"] for each in client.get(f"{url}/models").json()] == [2, 1]
    assert error_of(client.post(f"{url}/models/9/activate", json={})) == (404, "NotFoundError")
    for wrong in ({}, {"value": 1, "alpha": 0.1}, {"alpha": 2}, {"value": "x"}):
        assert error_of(client.put(f"{url}/threshold", json=wrong)) == (422, "SettingError")
    answer = client.put(f"{url}/threshold", content=b'{"value": Infinity}', headers=JSON)
    assert error_of(answer) == (422, "SettingError")
    assert client.get(f"{url}/drift").json()["version"] == 2


def test_zones_are_drawn_in_shares_of_the_image(
    taught: Both, good: bytes, category_dir: Path, model_path: Path
) -> None:
    _, client = taught
    client.post("/api/v1/parts", json={"name": "zoned"})
    url = "/api/v1/parts/zoned"
    for path in sorted((category_dir / "test" / "good").iterdir()):
        client.post(f"{url}/good", files={"files": (path.name, path.read_bytes())})
    client.post(f"{url}/models", files={"file": model_path.read_bytes()})
    assert client.get(f"{url}/zones").json() == {"version": 1, "polygons": []}
    polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    for wrong in ([[[0, 0], [1, 1]]], [[[0, 0], [2, 0], [0, 2]]], [[]], "x", [[[0, 0, 0]] * 3]):
        assert error_of(client.put(f"{url}/zones", json={"polygons": wrong})) == (422, "SettingError")
    answer = client.put(f"{url}/zones", json={"polygons": [polygon], "why": "the clamp"})
    assert answer.status_code == 200
    assert client.get(f"{url}/zones").json() == {"version": 2, "polygons": [polygon]}


def test_a_job_is_started_watched_and_has_an_end(taught: Both) -> None:
    _, client = taught
    client.post("/api/v1/parts", json={"name": "nothing to learn from"})
    url = "/api/v1/parts/nothing to learn from/jobs"
    assert error_of(client.post(url, json={"kind": "magic"})) == (422, "SettingError")
    surrogate = b'{"kind": "enroll", "options": {"why": "\\ud800"}}'
    assert error_of(client.post(url, content=surrogate, headers=JSON)) == (422, "SettingError")
    answer = client.post(url, json={"kind": "enroll", "options": {"alpha": 0.1}})
    assert answer.status_code == 202
    job = answer.json()
    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events", timeout=120) as events:
        told = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["state"] == "failed"  # there are no images
    assert told[-1]["message"]
    assert client.get(f"/api/v1/jobs/{job['id']}").json() == told[-1]
    assert error_of(client.post(f"/api/v1/jobs/{job['id']}/cancel")) == (409, "ConflictError")
    assert job["id"] in [each["id"] for each in client.get("/api/v1/jobs", params={"state": "failed"}).json()]
    assert client.get("/api/v1/jobs", params={"state": "queued"}).json() == []
    assert error_of(client.get("/api/v1/jobs/999/events")) == (404, "NotFoundError")


# --------------------------------------------------------------------------------------------------------------- office


def test_what_is_kept_is_set_and_told(taught: Both) -> None:
    _, client = taught
    policy = {"image_days": 30.0, "image_bytes": None, "record_days": 365.0}
    assert client.put("/api/v1/retention", json=policy).json() == policy
    assert client.get("/api/v1/retention").json() == policy
    for wrong in ({"image_days": -1}, {"record_days": 1}, {"image_days": 1e300}, {"image_bytes": 2**70}):
        assert error_of(client.put("/api/v1/retention", json=wrong)) == (422, "SettingError")
    assert client.get("/api/v1/retention").json() == policy
    client.put("/api/v1/retention", json={})


def test_tokens_are_shown_once(taught: Both) -> None:
    _, client = taught
    made = client.post("/api/v1/tokens", json={"name": "robot", "role": "operator"}).json()
    assert made["secret"].startswith("blemish_")
    assert made["secret"] not in client.get("/api/v1/tokens").text
    assert made["secret"] not in client.get("/api/v1/audit").text
    assert client.delete("/api/v1/tokens/robot").json()["revoked"] is not None


def test_the_audit_log_is_read_in_pages(taught: Both) -> None:
    _, client = taught
    whole = client.get("/api/v1/audit", params={"limit": 500}).json()["items"]
    pages, before = [], {}
    while True:
        page = client.get("/api/v1/audit", params={"limit": 7, **before}).json()
        pages += page["items"]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert pages == whole
    assert [entry["sequence"] for entry in pages] == list(range(len(pages), 0, -1))


def test_machines_are_told_how_it_stands(taught: Both, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    station, client = taught
    inspect(client, good)
    for prefix in ("", "/api/v1"):
        assert client.get(f"{prefix}/health").json()["status"] == "alive"
        assert client.get(f"{prefix}/ready").json()["ready"] is True
        text = client.get(f"{prefix}/metrics").text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(values['blemish_inspections_total{part="metal",verdict="good"}']) >= 1
        assert float(values["blemish_inspection_seconds_count"]) >= 1
        assert values['blemish_inspection_seconds_bucket{le="+Inf"}'] == values["blemish_inspection_seconds_count"]
        assert values["blemish_workers"] == "1"
        assert float(values['blemish_http_requests_total{status="200"}']) >= 1
    monkeypatch.setattr(station.store, "is_writable", lambda: False)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert client.get("/health").status_code == 200


def test_an_event_is_one_block() -> None:
    told = event("inspection", json.dumps({"comment": "two\nlines"}), 3)
    assert told.count("\n\n") == 1
    assert told.endswith("\n\n")


def test_nothing_of_the_pages_loads_from_elsewhere(taught: Both) -> None:
    assert taught[1].get("/docs").status_code == 404  # which would load its scripts from elsewhere
    assert "openapi" in taught[1].get("/api/v1/openapi.json").json()
