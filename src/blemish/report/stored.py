"""Images at URLs, such as ``s3://bucket/parts``: listed by a prefix and read one by one, through fsspec.

fsspec knows many kinds of stores; most need a package of their own, such as s3fs, and find credentials where
that package looks for them. Nothing is copied to a disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from blemish.errors import DatasetError, MissingExtraError, UnreadError
from blemish.images import IMAGE_SUFFIXES
from blemish.strips import GreyImage


@dataclass(frozen=True)
class Stored:
    """An image at a URL."""

    url: str
    n_bytes: int | None = None  # None: nothing is known of it
    version: str = ""  # a hash of what its store says of it; it changes with the image

    def __str__(self) -> str:
        return self.url

    def stamp(self) -> dict[str, int | str]:
        """Return what shows that the image has not changed; nothing where nothing is known of it."""
        return {} if self.n_bytes is None else {"n_bytes": self.n_bytes, "version": self.version}

    def open(self) -> GreyImage:
        """Read the image.

        Raises:
            UnreadError: the store does not give it. ImageError: as for `images.read_image`.
        """
        return GreyImage.decode(_read(self.url), self.url)


def is_url(source: Path | str) -> bool:
    """Say whether a source is a URL; a path never is, for in it two slashes are one."""
    return "://" in str(source)


def open_image(path: str) -> GreyImage:
    """Read an image by its path or URL.

    Raises:
        ImageError: as for `images.read_image`, or the store does not give it.
    """
    return Stored(path).open() if is_url(path) else GreyImage.open(path)


def list_stored(url: str) -> list[Stored]:
    """List an image at a URL, or all below it, sorted like the files of a folder, and like them without masks.

    Raises:
        DatasetError: there are none, or the store cannot be listed. MissingExtraError: fsspec is not installed.
    """
    from_url = _fsspec().core.url_to_fs
    try:
        store, root = from_url(url)
        found: Mapping[str, Mapping[str, Any]] = store.find(root, detail=True)
    except Exception as error:  # every kind of store has errors of its own; of a missing package fsspec says its name
        raise DatasetError(
            f"'{url}' cannot be listed ({error or repr(error)}). "
            "Check the URL, the credentials, and that fsspec's package for this kind of store is installed."
        ) from error
    paths = sorted(map(PurePosixPath, found))
    folders = {folder for path in paths for folder in path.parents}
    listed = [
        Stored(store.unstrip_protocol(str(path)), int(found[str(path)].get("size") or 0), _version(found[str(path)]))
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not _is_left_out(path, PurePosixPath(root), folders)
    ]
    if not listed:
        raise DatasetError(
            f"'{url}' has no images: expected some ending in {', '.join(sorted(IMAGE_SUFFIXES))}, there or below; "
            f"found {len(paths)} other files. Check the URL."
        )
    return listed


def _is_left_out(path: PurePosixPath, root: PurePosixPath, folders: set[PurePosixPath]) -> bool:
    """Say whether it is hidden, or a mask of a category folder, as `datasets.list_images` leaves them out."""
    if path == root:
        return False
    below = [place for place in (path, *path.parents) if place.is_relative_to(root) and place != root]
    return any(
        place.name.startswith(".") or (place.name == "ground_truth" and place.parent / "test" in folders)
        for place in below
    )


def _version(details: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(details, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read(url: str) -> bytes:
    from_url = _fsspec().core.url_to_fs
    try:
        store, path = from_url(url)
        return bytes(store.cat_file(path))
    except Exception as error:  # as above
        raise UnreadError(
            f"'{url}': the store does not give it ({error!r}). The same command tries it again."
        ) from error


def _fsspec() -> Any:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error, "cluster") from error
    return fsspec
