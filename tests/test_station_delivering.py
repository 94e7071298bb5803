"""Every result arrives, in order and signed, whatever the receiver, the network or the station go through."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import ConflictError, NotFoundError, SettingError, StationError
from blemish.results import Verdict
from blemish.station import audit
from blemish.station.clock import now
from blemish.station.delivering import SCHEMA, Deliverer, Sinks, payload, signature
from blemish.station.entries import SECRETS
from blemish.station.store import NewInspection, Store

KEY = "a key of the line"
REGION = {"top": 1, "left": 2, "height": 3, "width": 4, "peak": 5.0, "contour": [[1, 2], [3, 4]]}
FAST: dict[str, float] = {"every": 0.005, "first_delay": 0.005, "longest_delay": 0.02, "timeout": 5, "look": 0.02}
PATIENCE = 30.0  # seconds after which a test has failed; none waits so long when all is well


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.003)


def add(store: Store, sinks: list[str], n: int = 1, part: str = "cap", picture: bytes | None = None) -> list[str]:
    """Store inspections for sinks, and return their ids."""
    ids = []
    for _ in range(n):
        new = NewInspection(
            part, 1, "0" * 64, b"image", ".png", Verdict.DEFECTIVE, 2.0, 1.0, {"regions": [REGION]}, picture
        )
        ids.append(store.add_inspection(new, sinks=sinks, payload=payload).id)
    return ids


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "station") as opened:
        for part in ("cap", "lid"):
            opened.add_part(part, who="anna")
            opened.add_model(part, b"model", origin="fit", who="anna", activate=True)
        yield opened


# ------------------------------------------------------------------------------------------------------------ receiver


class Receiver:
    """A webhook's receiver that can be told to misbehave, one request after the other."""

    def __init__(self, port: int = 0) -> None:
        self.faults: list[str] = []  # what to do with the next requests; then it works
        self.taken: list[dict[str, Any]] = []  # bodies that were answered with 200
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.n_requests = 0
        self.released = threading.Event()  # ends what is slow
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                receiver.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/results"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.n_requests += 1
        self.paths.append(handler.path)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "drop":
            handler.close_connection = True
        elif fault == "drip":  # a byte now and then, so that no single read ever takes long
            while not self.released.wait(0.02):
                try:
                    handler.wfile.write(b"H")
                except OSError:
                    break
            handler.close_connection = True
        elif fault:
            handler.send_response(int(fault))
            handler.send_header("Location", "/elsewhere")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.taken.append(json.loads(body))
            handler.send_response(200)
            handler.send_header("Content-Length", "2")
            handler.end_headers()
            handler.wfile.write(b"ok")

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.taken]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def add_webhook(store: Store, url: str, **more: Any) -> None:
    Sinks(store).add({"name": "mes", "kind": "webhook", "url": url, "secret": KEY, **more}, who="anna")


@pytest.fixture
def deliverer(store: Store) -> Iterator[Deliverer]:
    made = Deliverer(store, **FAST)
    yield made
    made.close()


def test_everything_arrives_in_order_and_signed(store: Store, receiver: Receiver, deliverer: Deliverer) -> None:
    add_webhook(store, receiver.url)
    ids = add(store, ["mes"], 8)
    deliverer.start()
    wait_until(lambda: store.n_waiting() == 0)
    assert receiver.ids == ids
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        assert headers["X-Blemish-Signature"] == signature(KEY, headers["X-Blemish-Timestamp"], body)
        assert headers["X-Blemish-Delivery"] == json.loads(body)["id"]
        assert abs(int(headers["X-Blemish-Timestamp"]) - time.time()) < 60
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("fault", ["500", "404", "302", "308", "drop"])
def test_what_fails_is_tried_again_before_the_next(
    fault: str, store: Store, receiver: Receiver, deliverer: Deliverer
) -> None:
    receiver.faults = [fault, fault, fault]
    add_webhook(store, receiver.url)
    ids = add(store, ["mes"], 4)
    deliverer.start()
    wait_until(lambda: store.n_waiting() == 0)
    assert receiver.ids == ids
    assert receiver.n_requests == 7
    assert set(receiver.paths) == {"/results"}  # no redirect was followed


def test_a_receiver_that_never_ends_its_answer_is_left(store: Store, receiver: Receiver) -> None:
    receiver.faults = ["drip"]
    add_webhook(store, receiver.url)
    ids = add(store, ["mes"], 2)
    deliverer = Deliverer(store, **{**FAST, "timeout": 0.2})
    deliverer.start()
    wait_until(lambda: store.n_waiting() == 0)
    deliverer.close()
    assert receiver.ids == ids


def test_a_receiver_that_is_down_gets_all_when_it_comes_back(
    store: Store, receiver: Receiver, deliverer: Deliverer
) -> None:
    add_webhook(store, receiver.url)
    receiver.close()
    ids = add(store, ["mes"], 3)
    deliverer.start()
    wait_until(lambda: deliverer.status()[0]["attempts"] >= 3)
    told = deliverer.status()[0]
    assert told["n_waiting"] == 3
    assert "ConnectError" in told["error"]
    assert told["next_try"] is not None
    again = Receiver(receiver.port)
    try:
        ids += add(store, ["mes"], 2)
        wait_until(lambda: store.n_waiting() == 0)
        assert again.ids == ids
        assert deliverer.status()[0] == {**told, "n_waiting": 0, "attempts": 0, "error": "", "next_try": None}
    finally:
        again.close()


KILLED = """
import os, signal, sys
from blemish.results import Verdict
from blemish.station.delivering import Deliverer, payload
from blemish.station.store import NewInspection, Store

store = Store(sys.argv[1])
deliverer = Deliverer(store, every=0.001, first_delay=0.001)
deliverer.start()
for index in range(int(sys.argv[2])):
    new = NewInspection("cap", 1, "0" * 64, b"image", ".png", Verdict.GOOD, 0.0, 1.0, {"regions": []})
    print(store.add_inspection(new, sinks=["mes"], payload=payload).id, flush=True)
    deliverer.wake()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("n_faults", [0, 1000])
def test_a_kill_between_store_and_delivery_loses_nothing(n_faults: int, tmp_path: Path, receiver: Receiver) -> None:
    receiver.faults = ["503"] * n_faults  # 1000: nothing arrives before the kill; 0: it comes anywhere
    with Store(tmp_path / "station") as store:
        store.add_part("cap", who="anna")
        store.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        add_webhook(store, receiver.url)
    ids = []
    for _ in range(2):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "station"), "12"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        ids += done.stdout.split()
    receiver.faults.clear()
    with Store(tmp_path / "station") as store:
        deliverer = Deliverer(store, **FAST)
        deliverer.start()
        wait_until(lambda: store.n_waiting() == 0)
        deliverer.close()
    assert len(ids) == 24
    assert list(dict.fromkeys(receiver.ids)) == ids  # each, in order; what was under way may come twice
    assert len(receiver.ids) <= len(ids) + 2


def test_a_clock_that_was_set_back_holds_nothing_up(store: Store, receiver: Receiver, deliverer: Deliverer) -> None:
    add_webhook(store, receiver.url)
    ids = add(store, ["mes"])
    store.mark_failed(store.waiting("mes")[0].id, "before", next_try=now() + timedelta(days=365))
    deliverer.start()
    wait_until(lambda: store.n_waiting() == 0)
    assert receiver.ids == ids


def test_a_sink_that_hangs_holds_no_other_up(
    store: Store, receiver: Receiver, deliverer: Deliverer, tmp_path: Path
) -> None:
    receiver.faults = ["drip"] * 50
    (tmp_path / "out").mkdir()
    add_webhook(store, receiver.url)
    deliverer.sinks.add({"name": "disk", "kind": "folder", "folder": str(tmp_path / "out")}, who="anna")
    add(store, ["mes", "disk"], 3)
    deliverer.start()
    wait_until(lambda: store.n_waiting("disk") == 0)
    assert store.n_waiting("mes") == 3
    receiver.released.set()


def test_sinks_come_and_go_while_it_runs(
    store: Store, receiver: Receiver, deliverer: Deliverer, tmp_path: Path
) -> None:
    deliverer.start()
    add_webhook(store, receiver.url)
    first = add(store, ["mes"])
    wait_until(lambda: receiver.ids == first)
    Sinks(store).remove("mes", who="anna")
    assert deliverer.status() == []
    (tmp_path / "out").mkdir()
    Sinks(store).add({"name": "mes", "kind": "folder", "folder": str(tmp_path / "out")}, who="anna")
    second = add(store, ["mes"])
    wait_until(lambda: store.n_waiting() == 0)
    assert receiver.ids == first
    assert [path.stem.split("-")[1] for path in (tmp_path / "out").iterdir()] == second


def test_what_waits_for_a_removed_sink_is_dropped_and_noted(store: Store, receiver: Receiver) -> None:
    add_webhook(store, receiver.url)
    add(store, ["mes"], 3)
    Sinks(store).remove("mes", who="ben")
    assert store.n_waiting() == 0
    (entry,) = audit.entries(store, what="sink.forget")
    assert (entry.who, entry.detail) == ("ben", {"sink": "mes", "n_waiting": 3})
    add(store, ["mes"])  # was on its way while the sink went
    add_webhook(store, receiver.url)
    assert store.n_waiting() == 0


# ------------------------------------------------------------------------------------------------------------- payload


def test_the_payload_says_what_is_stored(store: Store) -> None:
    stored = store.inspection(add(store, [])[0])
    told = payload(stored)
    assert json.loads(json.dumps(told)) == told
    assert told == {
        "schema": SCHEMA,
        "id": stored.id,
        "sequence": stored.sequence,
        "at": told["at"],
        "part": "cap",
        "part_id": "",
        "lot_id": "",
        "source": "",
        "model": {"version": 1, "sha256": "0" * 64},
        "verdict": "defective",
        "score": 2.0,
        "threshold": 1.0,
        "regions": [{name: value for name, value in REGION.items() if name != "contour"}],
        "links": {"self": f"/api/v1/inspections/{stored.id}"},
    }


def test_a_signature_holds_for_one_key_time_and_body_only() -> None:
    signed = {signature(key, at, body) for key in ("a", "b") for at in ("1", "11") for body in (b"x", b"1.x")}
    assert len(signed) == 8


def test_the_check_in_the_documents_accepts_what_is_genuine_alone() -> None:
    page = (Path(__file__).parents[1] / "docs" / "sinks-and-sources.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.+?)```", page, flags=re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    for seconds, body, key, is_genuine in (
        (0, b"{}", KEY, True),
        (0, b"{ }", KEY, False),
        (0, b"{}", "another key", False),
        (1000, b"{}", KEY, False),
    ):
        at = str(int(time.time()) - seconds)
        headers = {"X-Blemish-Timestamp": at, "X-Blemish-Signature": signature(KEY, at, b"{}")}
        assert names["is_genuine"](key, headers, body) == is_genuine


# -------------------------------------------------------------------------------------------------------------- folder


def test_a_folder_gets_whole_files_that_sort_as_parts_came(store: Store, deliverer: Deliverer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    deliverer.sinks.add({"name": "disk", "kind": "folder", "folder": str(out)}, who="anna")
    ids = add(store, ["disk"], 11, picture=b"picture")
    ids += add(store, ["disk"])  # without a picture
    deliverer.start()
    wait_until(lambda: store.n_waiting() == 0)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    assert [each["id"] for each in found] == ids
    assert found[3] == payload(store.inspection(ids[3]))
    pictures = sorted(out.glob("*.jpg"))
    assert [path.stem.split("-")[1] for path in pictures] == ids[:-1]
    assert {path.read_bytes() for path in pictures} == {b"picture"}
    assert len(list(out.iterdir())) == 23


def test_a_folder_that_is_not_mounted_is_waited_for_and_never_made(
    store: Store, deliverer: Deliverer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    deliverer.sinks.add({"name": "disk", "kind": "folder", "folder": str(out)}, who="anna")
    out.rename(tmp_path / "gone")
    add(store, ["disk"], 2)
    deliverer.start()
    wait_until(lambda: deliverer.status()[0]["attempts"] >= 2)
    assert "mounted" in deliverer.status()[0]["error"]
    assert not out.exists()
    (tmp_path / "gone").rename(out)
    wait_until(lambda: store.n_waiting() == 0)
    assert len(list(out.glob("*.json"))) == 2


# ---------------------------------------------------------------------------------------------------------------- MQTT


class Broker:
    """As much of an MQTT 3.1.1 broker as a publisher needs; it can be told to refuse, and to hang up."""

    def __init__(self) -> None:
        self.faults: list[str] = []  # "refuse": a CONNECT; "drop": a PUBLISH
        self.taken: list[tuple[str, dict[str, Any], int]] = []  # topic, message, quality of service
        self.passwords: list[tuple[bytes, bytes]] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(1):
                length, shift = 0, 0
                while True:
                    (byte,) = stream.read(1)
                    length |= (byte & 127) << shift
                    shift += 7
                    if not byte & 128:
                        break
                if not self._answer(connection, head[0], stream.read(length)):
                    return

    def _answer(self, connection: socket.socket, head: int, body: bytes) -> bool:
        kind = head >> 4
        fault = self.faults[0] if self.faults else ""
        if kind == 1:  # CONNECT: name, level, flags, keepalive, then client id, user, password
            if body[7] & 0xC0:
                self.passwords.append(tuple(_fields(body[10:])[1:3]))  # type: ignore[arg-type]
            is_refused = fault == "refuse" and bool(self.faults.pop(0))
            connection.sendall(bytes([0x20, 2, 0, 5 if is_refused else 0]))
            return not is_refused
        if kind == 3:  # PUBLISH
            if fault == "drop":
                self.faults.pop(0)
                return False
            n_topic = int.from_bytes(body[:2])
            topic, number, message = body[2 : 2 + n_topic], body[2 + n_topic : 4 + n_topic], body[4 + n_topic :]
            self.taken.append((topic.decode(), json.loads(message), (head >> 1) & 3))
            connection.sendall(b"\x40\x02" + number)
        elif kind == 12:
            connection.sendall(b"\xd0\x00")
        return kind != 14


def _fields(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 2 + int.from_bytes(data[:2])
        found.append(data[2:end])
        data = data[end:]
    return found


def test_mqtt_gets_everything_in_order_confirmed(store: Store) -> None:
    pytest.importorskip("paho.mqtt.client")
    broker = Broker()
    broker.faults = ["refuse", "drop", "drop"]
    deliverer = Deliverer(store, **{**FAST, "timeout": 3})
    spec = {"name": "bus", "kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": "line/1"}
    deliverer.sinks.add({**spec, "user": "station", "secret": "password"}, who="anna")
    ids = add(store, ["bus"], 5)
    deliverer.start()
    try:
        wait_until(lambda: store.n_waiting() == 0)
        ids += add(store, ["bus"], 2)
        wait_until(lambda: store.n_waiting() == 0)
    finally:
        deliverer.close()
        broker.close()
    assert [message["id"] for _, message, _ in broker.taken] == ids
    assert {(topic, quality) for topic, _, quality in broker.taken} == {("line/1", 1)}
    assert broker.faults == []
    assert set(broker.passwords) == {(b"station", b"password")}


class Mosquitto:
    """A real broker, which can be stopped and started again where it was."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = ["mosquitto", "-c", str(folder / "mosquitto.conf")]
        passwords = folder / "passwords"
        passwords.touch(0o600)
        subprocess.run(["mosquitto_passwd", "-b", passwords, "station", "password"], check=True, capture_output=True)
        user = f"user {pwd.getpwuid(os.getuid()).pw_name}\n" if os.getuid() == 0 else ""  # else it changes to its own
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\npassword_file {passwords}\n{user}"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs Debian's package mosquitto")
def test_a_real_broker_gets_everything_in_order_though_it_was_away(store: Store, tmp_path: Path) -> None:
    paho = pytest.importorskip("paho.mqtt.client")
    broker = Mosquitto(tmp_path)
    taken: dict[str, None] = {}  # ids as they came first; one that comes twice is dropped, as receivers are told to
    subscribed = threading.Event()
    subscriber = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="mes", clean_session=False)
    subscriber.reconnect_delay_set(1, 1)
    subscriber.username_pw_set("station", "password")
    subscriber.on_connect = lambda client, *_: client.subscribe("line/#", qos=1)  # no cycle: its end closes sockets
    subscriber.on_subscribe = lambda *_: subscribed.set()
    subscriber.on_message = lambda *given: taken.setdefault(json.loads(given[2].payload)["id"])
    deliverer = Deliverer(store, **FAST)
    spec = {"name": "bus", "kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": "line/1"}
    deliverer.sinks.add({**spec, "user": "station", "secret": "password"}, who="anna")
    try:
        subscriber.connect("127.0.0.1", broker.port)
        subscriber.loop_start()
        assert subscribed.wait(PATIENCE)
        ids = add(store, ["bus"], 3)
        deliverer.start()
        wait_until(lambda: list(taken) == ids)
        broker.stop()
        ids += add(store, ["bus"], 3)
        wait_until(lambda: deliverer.status()[0]["attempts"] > 0)
        broker.start()
        wait_until(lambda: list(taken) == ids)
    finally:
        deliverer.close()
        subscriber.disconnect()
        subscriber.loop_stop()
        broker.stop()


# --------------------------------------------------------------------------------------------------- settings, secrets


FOLDER = {"name": "disk", "kind": "folder"}
HOOK = {"name": "mes", "kind": "webhook", "secret": KEY}
BUS = {"name": "bus", "kind": "mqtt", "host": "broker"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "kind"),
        ({"kind": ["folder"]}, "kind"),
        ({"name": "a", "kind": "fax"}, "fax"),
        ({**FOLDER}, "folder"),
        ({**FOLDER, "folder": "out"}, "whole path"),
        ({**FOLDER, "folder": "/no/such/folder"}, "no folder"),
        ({**FOLDER, "folder": "STATION"}, "own folder"),
        ({**FOLDER, "folder": "STATION/images"}, "own folder"),
        ({**FOLDER, "folder": "OUT", "parts": []}, "parts"),
        ({**FOLDER, "folder": "OUT", "parts": "cap"}, "parts"),
        ({**FOLDER, "folder": "OUT", "colour": 1}, "colour"),
        ({**FOLDER, "folder": "OUT", "name": "../a"}, "name"),
        ({**FOLDER, "folder": "OUT", "name": 7}, "name"),
        ({**HOOK}, "url"),
        ({**HOOK, "url": "file:///etc/passwd"}, "http"),
        ({**HOOK, "url": "http://"}, "http"),
        ({**HOOK, "url": "http://host:99999/"}, "http"),
        ({**HOOK, "url": "http://anna:word@host/"}, "password"),
        ({**HOOK, "url": "http://host/", "secret": "short"}, "secret"),
        ({**HOOK, "url": "http://host/", "secret": None}, "secret"),
        ({**BUS, "topic": "line/#"}, "topic"),
        ({**BUS, "port": 0}, "port"),
        ({**BUS, "port": True}, "port"),
        ({**BUS, "tls": "yes"}, "tls"),
        ({**BUS, "user": "station"}, "secret"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_kept(
    spec: dict[str, Any], told: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    places = {"STATION": str(tmp_path / "station"), "OUT": str(tmp_path / "out")}
    if "folder" in spec:
        begin, _, rest = spec["folder"].partition("/")
        spec = {**spec, "folder": places[begin] + (f"/{rest}" if rest else "") if begin in places else spec["folder"]}
    with pytest.raises(SettingError, match=told):
        Sinks(store).add(spec, who="anna")
    assert Sinks(store).list() == []
    assert not (store.folder / SECRETS).exists()


def test_names_and_folders_are_taken_once(store: Store, tmp_path: Path) -> None:
    sinks = Sinks(store)
    (tmp_path / "out").mkdir()
    sinks.add({**FOLDER, "folder": str(tmp_path / "out")}, who="anna")
    with pytest.raises(ConflictError):
        sinks.add({**HOOK, "name": "DISK", "url": "http://host/"}, who="anna")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(SettingError, match="disk"):
        sinks.add({**FOLDER, "name": "other", "folder": str(tmp_path / "link")}, who="anna")
    for call in (lambda: sinks.remove("none", who="anna"), lambda: sinks.entry("none")):
        with pytest.raises(NotFoundError):
            call()


def test_a_sink_gets_the_parts_that_it_wants(store: Store) -> None:
    sinks = Sinks(store)
    sinks.add({**HOOK, "url": "http://host/", "parts": ["lid"]}, who="anna")
    sinks.add({**HOOK, "name": "all", "url": "https://host/"}, who="anna")
    assert (sinks.names("cap"), sinks.names("lid"), sinks.names()) == (["all"], ["mes", "all"], ["mes", "all"])


def test_secrets_are_neither_shown_nor_logged_and_readable_by_the_owner_alone(store: Store) -> None:
    deliverer = Deliverer(store, **FAST)
    deliverer.sinks.add({**HOOK, "url": "http://host/"}, who="anna")
    deliverer.sinks.set_secret("mes", "another key", who="ben")
    assert deliverer.sinks.secret("mes") == "another key"
    file = store.folder / SECRETS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = json.dumps([deliverer.sinks.list(), deliverer.status(), store.setting("sinks")])
    shown += repr(audit.entries(store))
    assert KEY not in shown
    assert "another key" not in shown
    assert audit.entries(store)[0].what == "sink.secret"
    deliverer.sinks.remove("mes", who="anna")
    assert deliverer.sinks.secret("mes") is None
    assert "key" not in file.read_text(encoding="utf-8")


def test_a_new_key_signs_the_next_result(store: Store, receiver: Receiver, deliverer: Deliverer) -> None:
    add_webhook(store, receiver.url)
    deliverer.start()
    for key in ("another key", "a third key"):
        deliverer.sinks.set_secret("mes", key, who="anna")
        add(store, ["mes"])
        wait_until(lambda: store.n_waiting() == 0)
        headers = receiver.headers[-1]
        assert headers["X-Blemish-Signature"] == signature(key, headers["X-Blemish-Timestamp"], receiver.bodies[-1])


def test_without_its_key_a_webhook_sends_nothing_and_keeps_all(
    store: Store, receiver: Receiver, deliverer: Deliverer
) -> None:
    add_webhook(store, receiver.url)
    (store.folder / SECRETS).unlink()  # as after a restore
    add(store, ["mes"])
    deliverer.start()
    wait_until(lambda: deliverer.status()[0]["attempts"] >= 1)
    assert "secret" in deliverer.status()[0]["error"]
    assert receiver.n_requests == 0
    deliverer.sinks.set_secret("mes", KEY, who="anna")
    wait_until(lambda: store.n_waiting() == 0)


def test_a_damaged_file_of_secrets_is_told_and_left_alone(store: Store) -> None:
    (store.folder / SECRETS).write_text("{", encoding="utf-8")
    with pytest.raises(StationError, match=SECRETS):
        Sinks(store).add({**HOOK, "url": "http://host/"}, who="anna")
    assert (store.folder / SECRETS).read_text(encoding="utf-8") == "{"
    assert Sinks(store).list() == []
