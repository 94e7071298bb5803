"""What the API takes: values that the database can hold, and files that are streamed in or lie in an allowed folder."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Path as InPath
from fastapi import Query, Request, UploadFile
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile as Upload

from blemish.errors import SettingError
from blemish.station.api.context import Context
from blemish.station.clock import as_text
from blemish.station.guard import Refusal

LARGEST: Final = 2**63 - 1  # that the database can hold
IMAGE_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
_MOST_FILES: Final = 1000  # in one form


def _as_stored(value: Any) -> Any:
    """Refuse what cannot be kept as JSON in UTF-8: NaN, and halves of letters."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _in_the_calendar(when: Any) -> Any:
    try:
        as_text(when)
    except OverflowError as error:
        raise ValueError("it lies outside of the calendar") from error
    return when


PartName = Annotated[str, InPath(max_length=200, description="Name of a part.")]
Key = Annotated[str, InPath(max_length=64, description="An id, as the station gave it.")]
Version = Annotated[int, InPath(ge=1, le=LARGEST, description="Version of a model of this part.")]
Number = Annotated[int, InPath(ge=0, le=LARGEST)]
Name = Annotated[str, InPath(max_length=200)]
Sequence = Annotated[int, Query(ge=0, le=LARGEST)]
Limit = Annotated[int, Query(ge=1, le=500)]
Short = Annotated[str, Field(max_length=200), AfterValidator(_as_stored)]
Why = Annotated[str, Field(max_length=2000), AfterValidator(_as_stored)]
Text = Annotated[str, Field(max_length=10_000), AfterValidator(_as_stored)]
Plain = Annotated[dict[str, Any], AfterValidator(_as_stored)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
When = Annotated[AwareDatetime, AfterValidator(_in_the_calendar)]

UPLOAD: Final[dict[str, Any]] = {"type": "string", "format": "binary"}


class InspectByPath(BaseModel):
    """Where an image lies on the station's machine."""

    path: Annotated[str, Field(max_length=4096), AfterValidator(_as_stored)]


IMAGE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": UPLOAD}, "required": ["file"]},
            },
            **{kind: {"schema": UPLOAD} for kind in [*sorted(set(IMAGE_TYPES.values())), "application/octet-stream"]},
            "application/json": {
                "schema": {
                    "type": "object",
                    "title": "InspectByPath",
                    "description": "An image that lies below an allowed folder of the station's machine.",
                    "properties": {"path": {"type": "string", "maxLength": 4096}},
                    "required": ["path"],
                }
            },
        },
    }
}


async def image_of(request: Request) -> bytes | Path:
    """Take the image of a request: the one file of a form, the body itself, or the path that the JSON names.

    Raises:
        Refusal: the body is of another kind. SettingError: it holds no image.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=16) as form:
            file = form.get("file")
            if not isinstance(file, Upload):
                raise SettingError("The form has no file in its field 'file'.")
            return await file.read()
    if kind == "application/json":
        try:
            return Path(InspectByPath.model_validate_json(await request.body()).path)
        except ValidationError as error:
            raise SettingError(f'Expected {{"path": ...}} ({error.errors()[0]["msg"]}).') from error
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await request.body()
    raise Refusal(415, "RequestError", "Send an image: as a form with the field 'file', as image/png, or as a path.")


async def files_of(files: list[UploadFile]) -> list[tuple[str, bytes]]:
    """Read the files of a form: name and bytes of each."""
    if len(files) > _MOST_FILES:
        raise SettingError(f"Found {len(files)} files; expected at most {_MOST_FILES} at once.")
    return [(file.filename or "", await file.read()) for file in files]


def read_allowed(here: Context, path: Path) -> bytes:
    """Read an image that lies below an allowed folder.

    Links are followed first, and the file that was opened is compared with the one that was allowed, so that nothing
    outside is read, whatever is renamed meanwhile. Of what lies outside nothing is told, not even whether it is there.

    Raises:
        SettingError: it lies outside, is no file, too large, or cannot be read.
    """
    outside = SettingError(
        f"'{path}' is not below a folder that was allowed. Start the station with --allow FOLDER; the path is one of "
        "the station's machine, and whole."
    )
    try:
        resolved = path.resolve(strict=False)
    except (OSError, ValueError, RuntimeError):
        raise outside from None
    if not path.is_absolute() or not any(resolved.is_relative_to(folder) for folder in here.allowed):
        raise outside
    try:
        # O_NONBLOCK: a pipe would let us wait for ever. O_NOFOLLOW: it was no link a moment ago.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(resolved, flags), "rb") as file:
            opened = os.fstat(file.fileno())
            if not stat.S_ISREG(opened.st_mode):
                raise SettingError(f"'{path}' is no file.")
            if path.resolve() != resolved or not os.path.samestat(opened, resolved.stat()):
                raise outside
            if opened.st_size > here.upload_bytes:
                raise SettingError(
                    f"'{path}' has {opened.st_size} bytes; expected at most {here.upload_bytes}, as of an upload."
                )
            return file.read(here.upload_bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"'{path}' cannot be read ({getattr(error, 'strerror', None) or error}).") from error
