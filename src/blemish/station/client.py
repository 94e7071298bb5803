"""A client of a station's API, for scripts and for the machine that moves the parts.

    with Client("http://127.0.0.1:8000") as station:
        found = station.inspect("bottle", "0815.png", part_id="0815")
        if found["final"] != "good":
            ...

What it returns is the JSON of the API as plain data; ``/api/v1/openapi.json`` of the station says what is in it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from blemish import errors
from blemish.errors import BlemishError, DatasetError, ImageError, MissingExtraError, StationError, TrainingError

try:
    import httpx
except ModuleNotFoundError as missing:
    raise MissingExtraError.of(missing, "station") from missing

Record = dict[str, Any]
_API: Final = "api/v1/"
_ENDED: Final = ("done", "failed", "cancelled", "interrupted")
_LONGEST_PAUSE: Final = 10.0  # seconds between two attempts
_PAGE: Final = 500  # results that are asked for at once


class Client:
    """Talks to one station; for one thread at a time."""

    def __init__(self, url: str, token: str = "", *, timeout: float = 60.0, patience: float = 30.0) -> None:
        """Take the address; nothing is asked yet.

        Args:
            url: of the station, such as "http://127.0.0.1:8000".
            token: that an admin made for this machine; empty: none, as on the station's own machine without users.
            timeout: seconds to wait for an answer.
            patience: seconds for which a station that is busy, starting or not reached is asked again. Nothing is
                done twice by that: the station knows an image that was sent again.
        """
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._url, self._patience = url, patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def inspect(
        self,
        part: str,
        image: Path | str | bytes,
        *,
        part_id: str = "",
        lot_id: str = "",
        request_id: str | None = None,
    ) -> Record:
        """Have an image inspected; when this returns, the result is stored.

        Args:
            part: name of what it shows.
            image: path of an image file, or its bytes.
            part_id: serial number of the one part.
            lot_id: of its lot.
            request_id: the same one again gives the same inspection, also from another process; by default a new one.

        Returns:
            The inspection: ``verdict``, ``score``, ``threshold``, ``id``, ``result`` and more.

        Raises:
            ImageError: the file cannot be read, or the station can do nothing with it.
            NotFoundError: no such part, or it was not taught yet.
            AccessError: the token is wrong or its role not enough.
            BusyError: the station had too much to do for as long as `patience` says.
            StationError: it is not reached, closing, or answers otherwise than a station.
            StorageError: it cannot store anything.
        """
        found: Record = self._ask(
            "POST",
            f"parts/{_quoted(part)}/inspect",
            params={"part_id": part_id, "lot_id": lot_id},
            content=_bytes_of(image),
            headers={
                "content-type": "application/octet-stream",
                "idempotency-key": request_id or secrets.token_hex(12),
            },
        )
        return found

    def results(self, **wanted: Any) -> Iterator[Record]:
        """Return stored inspections, newest first, as many as there are.

        Args:
            wanted: filters of the API: part, version, verdict, final, decided, overruled, part_id, lot_id, source,
                since, until (times in ISO 8601 with a zone), least_score, most_score.
        """
        filters = {name: value for name, value in wanted.items() if value is not None}
        before: dict[str, Any] = {}
        while True:
            page = self._ask("GET", "inspections", params={**filters, **before, "limit": _PAGE})
            yield from page["items"]
            if page["next"] is None:
                return
            before = {"before": page["next"]}

    def parts(self) -> list[Record]:
        """Return all parts."""
        found: list[Record] = self._ask("GET", "parts")
        return found

    def teach(self, part: str, folder: Path | str, *, kind: str = "fit", **options: Any) -> Record:
        """Send good images and begin to teach a part, which is made where there is none.

        Args:
            part: name.
            folder: of good images, as `blemish fit` takes it.
            kind: "fit", trained for some minutes, or "enroll", ready in seconds.
            options: of the job: minutes, alpha, unsure, seed, activate, why.

        Returns:
            The job; `wait` waits for it.

        Raises:
            DatasetError: the folder holds no images. ImageError: the station does not take one of them.
            ConflictError: the part is being taught already.
        """
        from blemish.datasets import read_good

        images = read_good(Path(folder))
        if part not in {known["name"] for known in self._ask("GET", "parts", params={"archived": True})}:
            self._ask("POST", "parts", json={"name": part})
        for image in images:
            files = {"files": (image.name, _bytes_of(image))}
            answer = self._ask("POST", f"parts/{_quoted(part)}/good", files=files)
            if answer["refused"]:
                raise ImageError(" ".join(answer["refused"]))
        if not images:
            raise DatasetError(f"{folder} holds no images; expected good ones.")
        job: Record = self._ask("POST", f"parts/{_quoted(part)}/jobs", json={"kind": kind, "options": options})
        return job

    def wait(
        self, job: Record | int, *, every: float = 1.0, told: Callable[[Record], Any] = lambda job: None
    ) -> Record:
        """Wait until a job has ended.

        Args:
            job: that `teach` returned, or its number.
            every: seconds between two looks.
            told: called with the job after each look.

        Returns:
            The job, done; ``version`` is the model that it made.

        Raises:
            TrainingError: it failed, or was cancelled or interrupted.
        """
        number = job if isinstance(job, int) else job["id"]
        while True:
            now: Record = self._ask("GET", f"jobs/{number}")
            told(now)
            if now["state"] == "done":
                return now
            if now["state"] in _ENDED:
                raise TrainingError(f"Job {number} is {now['state']}: {now['message']}")
            time.sleep(every)

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """Ask until there is an answer, or the patience ends."""
        until, pause = time.monotonic() + self._patience, 0.2
        while True:
            error, wait = self._once(method, path, request)
            if error is None:
                return wait
            pause = min(max(2 * pause, wait), _LONGEST_PAUSE)
            if wait < 0 or time.monotonic() + pause > until:
                raise error
            time.sleep(pause)

    def _once(self, method: str, path: str, request: Record) -> tuple[BlemishError | None, Any]:
        """Return no error and the answer, or the error and after how many seconds to try again; below 0: never."""
        try:
            response = self._http.request(method, _API + path, **request)
        except httpx.TransportError as error:
            return StationError(f"The station at {self._url} is not reached ({error}). Does `blemish serve` run?"), 0.0
        except httpx.InvalidURL as error:
            return StationError(f"'{self._url}' is no address of a station ({error})."), -1.0
        if response.is_success:
            return None, response.json() if response.content else None
        wait = float(response.headers.get("retry-after", "1")) if response.status_code in (429, 503) else -1.0
        return _error_of(response, wait), wait


def _error_of(response: httpx.Response, wait: float) -> BlemishError:
    """Make the same error that was raised in the station."""
    try:
        told = response.json()["error"]
        kind, message = str(told["type"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        return StationError(f"{response.url} answers {response.status_code}, and not as a station does.")
    found = getattr(errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, BlemishError)):
        return StationError(f"{message} ({response.status_code})")
    if issubclass(found, errors.BusyError | errors.AccessError):
        return found(message, retry_after=max(wait, 0.0))
    return found(message)


def _bytes_of(image: Path | str | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ImageError(f"{image} cannot be read ({error.strerror}).") from error


def _quoted(part: str) -> str:
    return quote(part, safe="")
