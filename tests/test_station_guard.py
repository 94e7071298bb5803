"""Nobody gets in who should not, nobody gets more than their role, and nobody can ask too much."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from blemish.errors import SettingError, StationError, StorageError
from blemish.station.app import create_app, serve
from blemish.station.guard import Limits, Refusal, _Buckets, is_loopback
from blemish.station.people import People, Role
from blemish.station.station import Station
from blemish.station.store import Store
from serving import served, station_at

PASSWORD = "correct horse battery"
# Which role a route needs; whatever is not here is for operators.
ENGINEER = {
    "POST /parts",
    "POST /parts/{part}/archive",
    "POST /parts/{part}/good",
    "PUT /good/{key}",
    "POST /parts/{part}/jobs",
    "POST /demo",
    "POST /jobs/{key}/cancel",
    "POST /parts/{part}/accept",
    "POST /parts/{part}/models",
    "POST /parts/{part}/models/{version}/activate",
    "POST /parts/{part}/roll-back",
    "GET /parts/{part}/compare",
    "PUT /parts/{part}/threshold",
    "PUT /parts/{part}/zones",
    "GET /audit",
    "GET /audit/verify",
}
ADMIN = {
    f"{method} /{path}"
    for method, path in (
        *((method, path) for path in ("sinks", "sources", "users", "tokens") for method in ("GET", "POST")),
        *(("DELETE", f"{path}/{{name}}") for path in ("sinks", "sources", "tokens")),
        *(("PUT", f"users/{{name}}/{what}") for what in ("password", "role", "disabled")),
        ("GET", "retention"),
        ("PUT", "retention"),
    )
}
EVERYBODY = {"POST /session", "GET /health", "GET /ready"}
BODIES: dict[str, Any] = {
    "POST /parts": {"name": "new"},
    "POST /parts/{part}/archive": {"archived": True},
    "PUT /good/{key}": {"used": True},
    "POST /parts/{part}/jobs": {"kind": "enroll"},
    "POST /parts/{part}/accept": {"inspections": ["0"]},
    "PUT /parts/{part}/zones": {"polygons": []},
    "POST /sources/{name}/acknowledge": {"job_id": "0"},
    "POST /users": {"name": "new", "password": "", "role": "operator"},
    "PUT /users/{name}/password": {"password": ""},
    "PUT /users/{name}/role": {"role": "operator"},
    "PUT /users/{name}/disabled": {"disabled": True},
    "POST /tokens": {"name": "", "role": "operator"},
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Station, httpx.Client]]:
    """A station without users on its own machine."""
    with station_at(tmp_path_factory.mktemp("local") / "station") as pair:
        yield pair


@pytest.fixture(scope="module")
def manned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Station, httpx.Client]]:
    """A station with a user of each role, called like it."""
    with station_at(tmp_path_factory.mktemp("manned") / "station") as (station, client):
        for role in (Role.ADMIN, Role.ENGINEER, Role.OPERATOR):
            station.people.add_user(role.value, PASSWORD, role, who="test")
        yield station, client


def kind_of(response: httpx.Response) -> str:
    told = response.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"type", "message"}
    return str(told["error"]["type"])


@contextmanager
def logged_in(client: httpx.Client, name: str) -> Iterator[httpx.Client]:
    """Open another browser, in which somebody has logged in and whose pages send the CSRF token."""
    with httpx.Client(base_url=client.base_url, timeout=30) as browser:
        answer = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200
        browser.headers["x-csrf-token"] = answer.json()["csrf"]
        yield browser


# -------------------------------------------------------------------------------------------------------- whose request


def test_whoever_sits_at_a_station_without_users_may_do_everything(local: tuple[Station, httpx.Client]) -> None:
    _, client = local
    assert client.get("/api/v1/session").json() == {"name": "local", "role": "admin", "csrf": ""}
    assert client.post("/api/v1/parts", json={"name": "by local"}).status_code == 201


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"]
)
def test_another_name_of_this_machine_is_refused(local: tuple[Station, httpx.Client], name: str) -> None:
    _, client = local
    for path in ("/api/v1/parts", "/health", "/"):
        answer = client.get(path, headers={"host": f"{name}:8000"})
        assert (answer.status_code, kind_of(answer)) == (421, "WrongHost")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000"])
def test_the_names_of_this_machine_are_taken(local: tuple[Station, httpx.Client], name: str) -> None:
    assert local[1].get("/health", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
    ],
)
def test_pages_of_other_sites_change_nothing(local: tuple[Station, httpx.Client], headers: dict[str, str]) -> None:
    station, client = local
    answer = client.post("/api/v1/parts", json={"name": "by another site"}, headers=headers)
    assert (answer.status_code, kind_of(answer)) == (403, "AccessError")
    assert "by another site" not in {part.name for part in station.store.parts()}


def test_pages_of_other_sites_read_nothing_but_may_link(local: tuple[Station, httpx.Client]) -> None:
    _, client = local
    site = {"sec-fetch-site": "cross-site"}
    assert client.get("/api/v1/parts", headers={**site, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/api/v1/parts", headers={**site, "sec-fetch-mode": "navigate"}).status_code == 200


def test_the_own_pages_are_no_other_site(local: tuple[Station, httpx.Client]) -> None:
    _, client = local
    own = {"sec-fetch-site": "same-origin", "origin": str(client.base_url)}
    assert client.post("/api/v1/parts", json={"name": "by the own page"}, headers=own).status_code == 201


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
def test_nobody_is_local_through_a_proxy(local: tuple[Station, httpx.Client], header: str) -> None:
    answer = local[1].get("/api/v1/parts", headers={header: "127.0.0.1"})
    assert (answer.status_code, kind_of(answer)) == (403, "AccessError")


def test_with_a_user_nobody_is_local_any_more(tmp_path: Path) -> None:
    with station_at(tmp_path) as (_, client):
        operator = {"name": "olga", "password": PASSWORD, "role": "operator"}
        answer = client.post("/api/v1/users", json=operator)
        assert (answer.status_code, kind_of(answer)) == (409, "ConflictError")  # nobody could add the others
        assert client.post("/api/v1/users", json={**operator, "role": "admin"}).status_code == 201
        assert client.get("/api/v1/users").status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200


# -------------------------------------------------------------------------------------------------- sessions and tokens


def test_the_cookie_of_a_session_is_for_no_script_and_no_other_site(manned: tuple[Station, httpx.Client]) -> None:
    station, client = manned
    answer = client.post("/api/v1/session", json={"name": "operator", "password": PASSWORD})
    client.cookies.clear()
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert "secure" not in parts
    assert answer.headers["set-cookie"].startswith(f"{station.people.cookie}=")


def test_behind_https_the_cookie_goes_over_https_only_and_the_host_is_any(tmp_path: Path) -> None:
    with station_at(tmp_path, behind_https=True) as (station, client):
        assert client.get("/api/v1/parts").status_code == 401  # nobody is local behind a proxy
        station.people.add_user("anna", PASSWORD, Role.ADMIN, who="test")
        answer = client.post(
            "/api/v1/session",
            json={"name": "anna", "password": PASSWORD},
            headers={"host": "line3.example", "x-forwarded-for": "10.0.0.9"},
        )
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "max-age" in answer.headers["strict-transport-security"]


def test_a_session_changes_nothing_without_its_csrf_token(manned: tuple[Station, httpx.Client]) -> None:
    with logged_in(manned[1], "engineer") as browser, logged_in(manned[1], "admin") as other:
        token = browser.headers.pop("x-csrf-token")
        assert browser.get("/api/v1/session").json() == {"name": "engineer", "role": "engineer", "csrf": token}
        for wrong in ({}, {"x-csrf-token": ""}, {"x-csrf-token": other.headers["x-csrf-token"]}):
            answer = browser.post("/api/v1/parts", json={"name": "csrf"}, headers=wrong)
            assert (answer.status_code, kind_of(answer)) == (403, "AccessError")
        assert browser.post("/api/v1/parts", json={"name": "csrf"}, headers={"x-csrf-token": token}).status_code == 201


def test_two_stations_of_one_machine_keep_their_sessions_apart(
    manned: tuple[Station, httpx.Client], tmp_path: Path
) -> None:
    with station_at(tmp_path / "second") as (second, there), logged_in(manned[1], "operator") as browser:
        second.people.add_user("ada", PASSWORD, Role.ADMIN, who="test")
        answer = browser.post(there.base_url.join("/api/v1/session"), json={"name": "ada", "password": PASSWORD})
        assert answer.json()["name"] == "ada"  # to the browser it is the same host: cookies know no ports
        assert browser.get("/api/v1/session").json()["name"] == "operator"
        assert browser.get(there.base_url.join("/api/v1/session")).json()["name"] == "ada"


def test_a_database_that_cannot_be_read_is_told_as_such(
    manned: tuple[Station, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: People, secret: str) -> None:
        raise StorageError("The disk is gone.")

    with logged_in(manned[1], "operator") as browser:
        monkeypatch.setattr(People, "session", refuse)
        answer = browser.get("/api/v1/parts")
    assert (answer.status_code, kind_of(answer)) == (507, "StorageError")


def test_a_session_ends_by_logging_out(manned: tuple[Station, httpx.Client]) -> None:
    with logged_in(manned[1], "operator") as browser:
        cookie = manned[0].people.cookie
        secret = browser.cookies[cookie]
        assert browser.delete("/api/v1/session").status_code == 204
        assert browser.get("/api/v1/parts", headers={"cookie": f"{cookie}={secret}"}).status_code == 401


def test_a_token_needs_no_csrf_and_ends_when_revoked(manned: tuple[Station, httpx.Client]) -> None:
    station, client = manned
    secret, _ = station.people.add_token("line", Role.ENGINEER, who="test")
    bearer = {"authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/session", headers=bearer).json()["name"] == "token:line"
    assert client.post("/api/v1/parts", json={"name": "by token"}, headers=bearer).status_code == 201
    station.people.revoke_token("line", who="test")
    answer = client.post("/api/v1/parts", json={"name": "by token 2"}, headers=bearer)
    assert (answer.status_code, kind_of(answer)) == (401, "AccessError")


@pytest.mark.parametrize("header", ["Bearer", "Bearer blemish_x", "Basic YTpi", "blemish_x", ""])
def test_a_wrong_token_is_refused_also_beside_a_session(manned: tuple[Station, httpx.Client], header: str) -> None:
    with logged_in(manned[1], "operator") as browser:
        assert browser.get("/api/v1/parts", headers={"authorization": header}).status_code == 401


def test_guessing_is_slowed_down_and_tells_nothing(tmp_path: Path) -> None:
    with station_at(tmp_path) as (station, client):
        station.people.add_user("anna", PASSWORD, Role.ADMIN, who="test")
        told = []
        for name in ("anna", "nobody"):
            answer = client.post("/api/v1/session", json={"name": name, "password": "wrong"})
            told.append((answer.status_code, answer.json()))
            assert "set-cookie" not in answer.headers
        assert told[0] == told[1]
        assert told[0][0] == 401
        for _ in range(5):
            answer = client.post("/api/v1/session", json={"name": "anna", "password": "wrong"})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        answer = client.post("/api/v1/session", json={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 429  # also for whoever guessed right


# ---------------------------------------------------------------------------------------------------------------- roles


def routes(station: Station) -> list[str]:
    paths = create_app(station).openapi()["paths"]
    return [f"{method.upper()} {path.removeprefix('/api/v1')}" for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize("role", [None, *Role])
def test_each_role_gets_what_it_needs_and_no_more(manned: tuple[Station, httpx.Client], role: Role | None) -> None:
    station, client = manned
    listed = routes(station)
    assert EVERYBODY | ENGINEER | ADMIN | set(BODIES) <= set(listed)
    bearer = {}
    if role is not None:
        secret, _ = station.people.add_token(f"all-{role.value}", role, who="test")
        bearer = {"authorization": f"Bearer {secret}"}
    for route in listed:
        needed = Role.ADMIN if route in ADMIN else Role.ENGINEER if route in ENGINEER else Role.OPERATOR
        method, path = route.split()
        url = "/api/v1" + re.sub(r"{version}|{key}", "99", re.sub(r"{(part|name)}", "none", path))
        if path.endswith("/compare"):
            url += "?a=1&b=2"
        files = {"files": b"", "file": b""} if path.endswith(("/good", "/models")) else None
        if path == "/inspections/events" and role is not None:
            continue  # it never ends
        if path == "/session" and method != "GET":
            continue
        body = None if files else BODIES.get(route, {})
        answer = client.request(method, url, json=body if method != "GET" else None, files=files, headers=bearer)
        if route in EVERYBODY:
            assert answer.status_code == 200, route
        elif role is None:
            assert answer.status_code == 401, route
        elif role.may(needed):
            assert answer.status_code not in (401, 403, 405), (route, answer.text)
        else:
            assert answer.status_code == 403, route
            assert needed.value in answer.json()["error"]["message"]


# ------------------------------------------------------------------------------------------------------------- how much


def test_a_sender_has_so_many_requests_at_once_and_then_so_many_a_second() -> None:
    now = [100.0]
    buckets = _Buckets(per_second=2, burst=3, clock=lambda: now[0])
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(Refusal) as refused:
        buckets.take("a")
    assert (refused.value.status_code, refused.value.headers) == (429, {"retry-after": "1"})
    buckets.take("b")  # another sender is not held up
    now[0] += 0.5
    buckets.take("a")
    with pytest.raises(Refusal):
        buckets.take("a")
    now[0] += 1000
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(Refusal):
        buckets.take("a")


def test_too_many_requests_are_told_to_wait(tmp_path: Path) -> None:
    with station_at(tmp_path, limits=Limits(per_second=0.01, burst=2)) as (_, client):
        answers = [client.get("/health") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert kind_of(answers[2]) == "TooManyRequests"
        assert int(answers[2].headers["retry-after"]) >= 1


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("path", ["/api/v1/parts/none/inspect", "/api/v1/parts/none/good"])
def test_a_body_is_taken_up_to_its_limit_while_it_streams(tmp_path: Path, path: str, declared: bool) -> None:
    sent = []

    def pieces(n: int) -> Iterator[bytes]:
        if path.endswith("good"):
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(n):
            sent.append(n)
            yield b"0" * 2**16
        if path.endswith("good"):
            yield b"\r\n--x--\r\n"

    kind = "multipart/form-data; boundary=x" if path.endswith("good") else "application/octet-stream"
    with station_at(tmp_path, limits=Limits(upload_bytes=2**20)) as (station, client):
        headers = {"content-type": kind}
        assert client.post(path, content=pieces(10), headers=headers).status_code == 404  # no such part
        size = {"content-length": str(2**30)} if declared else {}
        n_before = len(sent)
        with httpx.Client(base_url=client.base_url) as other:
            try:
                answer = other.post(path, content=pieces(2**14), headers={**headers, **size})
            except httpx.TransportError:
                pass  # the connection was cut while the rest was still being sent
            else:
                assert (answer.status_code, kind_of(answer)) == (413, "TooLarge")
        assert len(sent) - n_before < 2**14
        assert station.store.parts() == []


def test_a_form_in_json_is_small(local: tuple[Station, httpx.Client]) -> None:
    answer = local[1].post("/api/v1/parts", json={"name": "0" * 2**21})
    assert (answer.status_code, kind_of(answer)) == (413, "TooLarge")


def test_bodies_of_all_together_are_limited(tmp_path: Path) -> None:
    limits = Limits(upload_bytes=2**20, bytes_at_once=2**18)
    with station_at(tmp_path, limits=limits) as (_, client):
        headers = {"content-type": "application/octet-stream"}
        for n_bytes, expected in ((2**17, 404), (2**19, 503), (2**17, 404)):  # what was refused is given back
            answer = client.post("/api/v1/parts/none/inspect", content=b"0" * n_bytes, headers=headers)
            assert answer.status_code == expected
            assert ("retry-after" in answer.headers) == (expected == 503)


def test_an_upload_of_nothing_makes_no_sense() -> None:
    with pytest.raises(SettingError, match="more than 0"):
        Limits.of_upload(0)
    assert Limits.of_upload(1000).bytes_at_once >= 4 * Limits.of_upload(1000).upload_bytes


# --------------------------------------------------------------------------------------------------------- every answer


def test_every_answer_tells_the_browser_to_trust_nothing_else(tmp_path: Path) -> None:
    with Station(tmp_path, workers=1) as station:
        app = create_app(station)

        @app.get("/fault")
        def fault() -> None:
            raise RuntimeError("a secret of the inside")

        with served(app) as address, httpx.Client(base_url=address) as client:
            asked = {
                200: client.get("/health"),
                404: client.get("/api/v1/none"),
                405: client.patch("/api/v1/parts"),
                413: client.post("/api/v1/parts", json={"name": "0" * 2**21}),
                421: client.get("/health", headers={"host": "evil.example"}),
                422: client.post("/api/v1/parts", json={}),
                400: client.post("/api/v1/parts", content=b"[" * 100_000, headers={"content-type": "application/json"}),
                500: client.get("/fault"),
            }
            for expected, answer in asked.items():
                assert answer.status_code == expected
                policy = answer.headers["content-security-policy"]
                assert "default-src 'self'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"
                assert answer.headers["cross-origin-opener-policy"] == "same-origin"
                assert answer.headers["cache-control"] == "no-store"
                if expected != 200:
                    kind_of(answer)
                for inside in ("Traceback", "secret of the inside", "site-packages", ".py", str(tmp_path)):
                    assert inside not in answer.text


def test_a_browser_is_told_an_error_as_a_page_and_the_api_tells_it_as_json(tmp_path: Path) -> None:
    with Station(tmp_path, workers=1) as station:
        app = create_app(station, limits=Limits(per_second=0.001, burst=9))

        @app.get("/fault")
        def fault() -> None:
            raise RuntimeError("a secret of the inside")

        headers = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        with served(app) as address, httpx.Client(base_url=address, headers=headers) as client:
            for expected, told, answer in (
                (404, "There is nothing at /none&lt;b&gt;.", client.get("/none<b>")),
                (404, "There is no part &#39;none&#39;", client.get("/parts/none/teach")),
                (405, "Method Not Allowed", client.post("/history")),
                (422, "before", client.get("/history?before=first")),
                (422, "filter", client.get("/history?version=first")),
                (403, "another site", client.get("/", headers={"sec-fetch-site": "cross-site"})),
                (421, "evil.example", client.get("/", headers={"host": "evil.example"})),
                (500, "The log of the server has the details", client.get("/fault")),
            ):
                assert answer.status_code == expected, answer.text
                assert answer.headers["content-type"] == "text/html; charset=utf-8"
                assert told in answer.text
                assert '<a class="button" href="/">' in answer.text
                assert "secret of the inside" not in answer.text
            for path in ("/api/v1/none", "/api/v1", "/api/v1/parts/none"):
                answer = client.get(path)
                assert (answer.status_code, kind_of(answer)) == (404, "NotFoundError")
            answer = client.get("/")
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert "Slow down" in answer.text
            assert kind_of(client.get("/none", headers={"accept": "*/*"})) == "TooManyRequests"


def test_somebody_unknown_is_told_what_is_not_there_and_nothing_about_the_station(
    manned: tuple[Station, httpx.Client],
) -> None:
    answer = manned[1].get("/none", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<nav" not in answer.text


# ----------------------------------------------------------------------------------------------------- starting, ending


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc7", False)]
)
def test_what_is_reached_from_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"behind_https": True}])
def test_beyond_this_machine_it_does_not_start_without_an_admin(tmp_path: Path, settings: dict[str, Any]) -> None:
    def not_reached(address: str) -> None:
        pytest.fail(f"It listens at {address}.")

    with pytest.raises(StationError, match="has no admin"):
        serve(tmp_path, port=0, tell=not_reached, **settings)
    with Store(tmp_path):  # and the folder is free again
        pass


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StationError, match="--port"):
        serve(tmp_path, port=other.getsockname()[1])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_cannot_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="is no folder"):
        serve(tmp_path / "station", port=0, allowed=[tmp_path / "none"])


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_serves_until_it_is_ended(tmp_path: Path, how: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "blemish", "serve", str(tmp_path / "station"), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        address = re.search(r"http://\S+", told)
        assert address is not None, told
        killer = threading.Timer(60, process.kill)
        killer.start()
        with httpx.Client(base_url=address[0], timeout=30) as client:
            assert client.get("/health").json()["status"] == "alive"
            with client.stream("GET", "/api/v1/inspections/events") as events:  # which must not hold up the end
                assert next(events.iter_lines()) == ": listening"
                process.send_signal(how)
                assert process.wait() == code
        killer.cancel()
        assert "Traceback" not in process.stderr.read()
    with Store(tmp_path / "station"):  # the folder is free again
        pass
