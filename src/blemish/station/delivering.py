"""Sinks: where results go to. A result is kept until its sink has it, and a sink gets them in order.

When an inspection is stored, what is to be delivered is stored with it, in the same transaction. From there one thread
for each sink takes it, the oldest first, and the next one only after the one before was taken. What fails is tried
again, after 1 second, then 2, 4 and so on up to 5 minutes; it is never given up. So after a kill, or days without
network, everything arrives, in order; what was under way at that moment may arrive twice, with the same id.

- ``folder``: ``SEQUENCE-ID.json``, and the picture as ``SEQUENCE-ID.jpg`` before it; names sort as parts came. Files
  appear whole or not at all.
- ``webhook``: POST of the JSON. Only an answer 200 to 299 counts; redirects are not followed. Headers:
  ``X-Blemish-Delivery`` (id of the inspection: a receiver drops what it has seen), ``X-Blemish-Timestamp`` (seconds
  since 1970, of this attempt), ``X-Blemish-Signature`` (`signature`). Servers are trusted as the system says;
  environment variables for proxies are not used.
- ``mqtt``: publishes the JSON with quality of service 1 (MQTT 3.1.1), through paho-mqtt, the extra ``mqtt``.

All get the same JSON, `payload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from blemish import __version__
from blemish.errors import BlemishError, MissingExtraError, NotFoundError, OutputError, SettingError
from blemish.station.clock import as_text, now
from blemish.station.crew import Crew, Worker
from blemish.station.entries import (
    SINKS,
    Entries,
    Entry,
    Field,
    Records,
    absolute_path,
    checked,
    flag,
    folder_for,
    optional,
    text,
    whole,
    write_durably,
)
from blemish.station.store import Delivery, Store, StoredInspection

if TYPE_CHECKING:
    from paho.mqtt.client import Client

SCHEMA: Final = "blemish.result/1"
_LEFT_OUT: Final = frozenset({"contour"})  # of a region: thousands of points; the link leads to them
_N_AT_ONCE: Final = 100  # results taken from the outbox in one look
_MOST_ANSWER: Final = 2**16  # bytes of an answer that are read, so that the connection can be used again
_ANSWER_SECONDS: Final = 1.0
_CONFIRM_SECONDS: Final = 0.1  # between two looks whether a broker is still there while it confirms


def payload(stored: StoredInspection) -> dict[str, Any]:
    """Return what sinks get of an inspection: plain JSON.

    ``schema`` grows when a field changes its meaning; new fields may come at any time. ``regions`` is empty when the
    verdict is good; their numbers are in pixels of the image, and distances as in `results.Region`.
    """
    regions = stored.result.get("regions", [])
    return {
        "schema": SCHEMA,
        "id": stored.id,
        "sequence": stored.sequence,
        "at": as_text(stored.at),
        "part": stored.part,
        "part_id": stored.part_id,
        "lot_id": stored.lot_id,
        "source": stored.source,
        "model": {"version": stored.version, "sha256": stored.model_sha256},
        "verdict": stored.verdict.value,
        "score": stored.score,
        "threshold": stored.threshold,
        "regions": [{name: value for name, value in region.items() if name not in _LEFT_OUT} for region in regions],
        "links": {"self": f"/api/v1/inspections/{stored.id}"},
    }


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what the header ``X-Blemish-Signature`` holds.

    A receiver computes it anew from the key, the header ``X-Blemish-Timestamp`` and the body as it came, compares both
    with ``hmac.compare_digest``, and refuses a timestamp that is too old, so that nobody can send an old result again.

    Example:
        >>> signature("key", "1767225600", b"{}")
        'sha256=df344de429b8ee672e1863e0008fdbd0080000536fbccdf0e4f89846acbbe872'
    """
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


# --------------------------------------------------------------------------------------------------------------- sinks


class Sinks(Entries):
    """The sinks of a station."""

    what = "sink"
    setting = SINKS

    def add(self, spec: Mapping[str, Any], *, who: str) -> Entry:
        """Add a sink. It gets what is inspected from now on.

        Args:
            spec: ``name``; ``kind``: folder, webhook or mqtt; ``parts``: names of the parts whose results it gets,
                without it all. A folder has ``folder``. A webhook has ``url`` and ``secret``, the key of the
                signature. MQTT has ``host``, ``port`` (1883), ``tls`` (false), ``topic`` (blemish/results), and where
                the broker asks for them ``user`` and ``secret``, the password.
            who: adds it.

        Raises:
            SettingError: a field makes no sense.
            ConflictError: there is a sink of this name.
            MissingExtraError: the package for this kind is not installed.
        """
        with self._store.transaction():
            entry = super().add(spec, who=who)
            self._forget(entry["name"], who)  # of an earlier sink of this name, stored while it was being removed
            return entry

    def remove(self, name: str, *, who: str) -> None:
        """Remove a sink. What waited for it is dropped from the outbox, and how much is noted.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self._store.transaction():
            super().remove(name, who=who)
            self._forget(name, who)

    def names(self, part: str | None = None) -> list[str]:
        """Return the names of the sinks, of those that get the results of a part where one is given."""
        return [
            entry["name"] for entry in self.list() if part is None or entry["parts"] is None or part in entry["parts"]
        ]

    def check(self, spec: Mapping[str, Any]) -> Entry:
        """Return the sink that is meant.

        Raises:
            SettingError: a field makes no sense.
            MissingExtraError: the package for this kind is not installed.
        """
        entry = checked("sink", spec, _KINDS)
        if entry["kind"] == "folder":
            folder_for(self._store, entry["folder"])
        elif entry["kind"] == "webhook":
            _need("httpx", "station")
        else:
            _need("paho.mqtt.client", "mqtt")
        return entry

    def needs_secret(self, entry: Entry) -> bool:
        """Say whether it cannot be without one: who receives a webhook must be able to tell that it is ours."""
        return entry["kind"] == "webhook" or bool(entry.get("user"))

    def _forget(self, name: str, who: str) -> None:
        n_waiting = self._store.n_waiting(name)
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE sink = ? AND delivered IS NULL", (name,))
            if n_waiting:
                self._store.note(who, "sink.forget", sink=name, n_waiting=n_waiting)


def _need(module: str, extra: str) -> None:
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error, extra) from error


def _url(value: Any) -> str:
    url = text(1, 2000)(value)
    try:
        found = urlsplit(url)
        is_whole = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or " " in url:
        raise SettingError(f"found '{url[:80]}'; expected a whole address that begins with http:// or https://.")
    if found.username is not None or found.password is not None:
        raise SettingError("found a name or password in the address, which everybody sees; the signature is enough.")
    return url


def _topic(value: Any) -> str:
    topic = text(1, 200)(value)
    if set("+#") & set(topic):
        raise SettingError(f"found '{topic}'; expected a topic without + and #, which only subscribers use.")
    return topic


def _parts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise SettingError("expected a list of names of parts; without it all are meant.")
    return [text(1, 64)(part) for part in value]


_PARTS: Final = {"parts": Field(optional(_parts), None)}
_KINDS: Final[dict[str, dict[str, Field]]] = {
    "folder": {"folder": Field(absolute_path), **_PARTS},
    "webhook": {"url": Field(_url), **_PARTS},
    "mqtt": {
        "host": Field(text(1, 253)),
        "port": Field(whole(1, 65535), 1883),
        "tls": Field(flag, False),
        "topic": Field(_topic, "blemish/results"),
        "user": Field(text(0, 200), ""),
        **_PARTS,
    },
}


# ------------------------------------------------------------------------------------------------------------- senders


class _Sender(Protocol):
    """Brings one result; raises when it is not sure that it arrived."""

    def send(self, delivery: Delivery) -> None: ...

    def close(self) -> None: ...


class _FolderSender:
    def __init__(self, entry: Entry, store: Store) -> None:
        self._folder, self._store = Path(entry["folder"]), store

    def send(self, delivery: Delivery) -> None:
        if not self._folder.is_dir():
            raise OutputError(f"There is no folder {self._folder}. Is its disk or share mounted?")
        stem = f"{delivery.sequence:012d}-{delivery.payload['id']}"
        picture = self._picture(delivery.payload["id"])
        if picture is not None:
            write_durably(self._folder / f"{stem}.jpg", picture)
        write_durably(self._folder / f"{stem}.json", _body(delivery))

    def close(self) -> None:
        pass

    def _picture(self, key: str) -> bytes | None:
        """Return the overlay, None where retention has removed it meanwhile."""
        with contextlib.suppress(NotFoundError, FileNotFoundError):
            file = self._store.inspection(key).picture_file
            return None if file is None else self._store.path(file).read_bytes()
        return None


class _WebhookSender:
    """Posts through asyncio, because only there a whole exchange has an end in time.

    Time limits of blocking sockets are for each read; a receiver that sends a byte now and then would hold the thread.
    """

    def __init__(self, entry: Entry, secret: Callable[[], str | None], timeout: float) -> None:
        import httpx

        self._entry, self._secret, self._timeout = entry, secret, timeout
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),  # what the system trusts, the plant's own authority among it
            follow_redirects=False,
            trust_env=False,  # a .netrc or proxy of whoever started the server must not change what is sent where
            timeout=timeout,
            headers={"User-Agent": f"blemish/{__version__}", "Content-Type": "application/json"},
        )
        self._runner = asyncio.Runner()

    def send(self, delivery: Delivery) -> None:
        key = self._secret()  # looked up each time: it may have been replaced
        if key is None:
            raise SettingError(f"The key of sink '{self._entry['name']}' is missing. Set its secret anew.")
        try:
            status = self._runner.run(self._post(delivery, key))
        except TimeoutError:
            raise OutputError(f"The receiver did not answer within {self._timeout:g} seconds.") from None
        if not 200 <= status < 300:
            raise OutputError(f"The receiver answered {status}; expected 200 to 299. Look into its log.")

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    async def _post(self, delivery: Delivery, key: str) -> int:
        body, timestamp = _body(delivery), str(int(time.time()))
        headers = {
            "X-Blemish-Delivery": delivery.payload["id"],
            "X-Blemish-Timestamp": timestamp,
            "X-Blemish-Signature": signature(key, timestamp, body),
        }
        async with asyncio.timeout(self._timeout):
            async with self._client.stream("POST", self._entry["url"], content=body, headers=headers) as response:
                # What follows the status does not matter; it is read to the end only where that is near.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        n_bytes = 0
                        async for chunk in response.aiter_raw():
                            n_bytes += len(chunk)
                            if n_bytes > _MOST_ANSWER:
                                break
                return response.status_code


class _MqttSender:
    def __init__(self, entry: Entry, secret: Callable[[], str | None], timeout: float) -> None:
        self._entry, self._secret, self._timeout = entry, secret, timeout
        self._client: Client | None = None

    def send(self, delivery: Delivery) -> None:
        if self._client is None or not self._client.is_connected():
            self.close()
            self._client = self._connected()
        sent = self._client.publish(self._entry["topic"], _body(delivery), qos=1)
        until = time.monotonic() + self._timeout
        while not sent.is_published():
            if not self._client.is_connected():
                raise OutputError("The broker hung up before it confirmed.")
            if time.monotonic() > until:
                raise OutputError(f"The broker did not confirm within {self._timeout:g} seconds.")
            sent.wait_for_publish(_CONFIRM_SECONDS)

    def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.disconnect()
            client.loop_stop()

    def _connected(self) -> Client:
        """Return a client that the broker has let in.

        It never connects anew by itself: what it holds would then go out a second time, behind what came later.
        """
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MissingExtraError.of(error, "mqtt") from error
        answered, answers = threading.Event(), list[Any]()

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            answers.append(reason)
            answered.set()

        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"blemish-{secrets.token_hex(6)}", reconnect_on_failure=False
        )
        client.connect_timeout = self._timeout
        client.on_connect = on_connect
        if self._entry["user"]:
            client.username_pw_set(self._entry["user"], self._secret())
        if self._entry["tls"]:
            client.tls_set_context(ssl.create_default_context())
        client.connect(self._entry["host"], self._entry["port"])
        client.loop_start()
        is_answered = answered.wait(self._timeout)
        if not is_answered or answers[0].is_failure:
            client.disconnect()
            client.loop_stop()
            reason = answers[0] if is_answered else f"no answer within {self._timeout:g} seconds"
            raise OutputError(f"The broker did not let us in ({reason}). Check host, port, user and password.")
        return client


def _body(delivery: Delivery) -> bytes:
    return json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


# ----------------------------------------------------------------------------------------------------------- deliverer


class _Courier(Worker):
    """Brings one sink its results."""

    def __init__(self, entry: Entry, store: Store, make: Callable[[Entry], _Sender], delays: _Delays) -> None:
        super().__init__(entry)
        self._store, self._make, self._delays = store, make, delays
        self._sender: _Sender | None = None

    def round(self) -> float:
        """Deliver what waits, up to the first that fails.

        After a failure it waits by the machine's own steady clock, not until the time that is stored for people to
        see: a clock that was set back would hold all deliveries until it has caught up.
        """
        try:
            for delivery in self._store.waiting(self.entry["name"], limit=_N_AT_ONCE):
                if self.is_ended:
                    break
                error = self._deliver(delivery)
                if error:
                    delay = self._delays.after(delivery.attempts)
                    self._store.mark_failed(delivery.id, error, next_try=now() + timedelta(seconds=delay))
                    self.rest(delay)
                    break
        except BlemishError:  # the outbox cannot be read or written now; nothing of it is lost
            self.rest(self._delays.first)
        return self._delays.between

    def let_go(self) -> None:
        """Close the connection."""
        if self._sender is not None:
            sender, self._sender = self._sender, None
            with contextlib.suppress(Exception):  # it is left behind because it failed, or at the end
                sender.close()

    def _deliver(self, delivery: Delivery) -> str:
        """Bring one result; return what went wrong, empty: nothing."""
        try:
            if self._sender is None:
                self._sender = self._make(self.entry)
            self._sender.send(delivery)
        except Exception as error:  # of any kind that networks and disks have; another attempt follows
            self.let_go()
            return str(error) if isinstance(error, BlemishError) else f"{type(error).__name__}: {error}"
        self._store.mark_delivered(delivery.id)
        return ""


class _Delays:
    """Seconds to wait."""

    def __init__(self, first: float, longest: float, between: float) -> None:
        self.first, self.longest, self.between = first, longest, between

    def after(self, n_failed: int) -> float:
        """Return how long to wait after one more failure."""
        return min(self.longest, self.first * 2.0 ** min(n_failed, 30))


class Deliverer:
    """Brings results from the outbox of a store to its sinks, in the background."""

    def __init__(
        self,
        store: Store,
        *,
        every: float = 0.1,
        first_delay: float = 1.0,
        longest_delay: float = 300.0,
        timeout: float = 10.0,
        look: float = 1.0,
    ) -> None:
        """Take the outbox of a store; `start` begins.

        Args:
            store: open, as its server.
            every: seconds between two looks into an empty outbox; `wake` makes one at once.
            first_delay: seconds until the second attempt; each later one takes twice as long.
            longest_delay: seconds between two attempts at most.
            timeout: seconds that a receiver may take to answer.
            look: seconds between two looks whether sinks came or went.
        """
        self.sinks = Sinks(store)
        self._store, self._timeout = store, timeout
        delays = _Delays(first_delay, longest_delay, every)
        self._crew = Crew(self.sinks, lambda entry: _Courier(entry, store, self._sender, delays), every=look)

    def start(self) -> None:
        """Begin to deliver."""
        self._crew.start()

    def close(self) -> None:
        """Stop. What was not delivered waits in the outbox."""
        self._crew.close()

    def wake(self) -> None:
        """Look into the outbox at once, and at the list of sinks."""
        self._crew.refresh()
        for courier in self._crew.workers():
            courier.wake()

    def status(self) -> Records:
        """Return each sink with ``n_waiting``, and of the result that is next ``attempts``, ``error``, ``next_try``."""
        found = []
        for entry in self.sinks.list():
            waiting = self._store.waiting(entry["name"])
            next_one = waiting[0] if waiting and waiting[0].attempts else None
            found.append(
                {
                    **entry,
                    "n_waiting": self._store.n_waiting(entry["name"]),
                    "attempts": 0 if next_one is None else next_one.attempts,
                    "error": "" if next_one is None else next_one.error,
                    "next_try": None if next_one is None else as_text(next_one.next_try),
                }
            )
        return found

    def _sender(self, entry: Entry) -> _Sender:
        if entry["kind"] == "folder":
            return _FolderSender(entry, self._store)
        kind = _WebhookSender if entry["kind"] == "webhook" else _MqttSender
        return kind(entry, lambda: self.sinks.secret(entry["name"]), self._timeout)
