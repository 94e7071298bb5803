"""Why was this one stopped? Its worst place beside the nearest good one, and its score among those of good images.

Beside the graph the model file keeps `Patches`: for every embedding of the reference set, where it is seen on small
pictures of good images. They take no part in any verdict.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.detection.model_file import read_arrays
from blemish.detection.pose import Pose
from blemish.detection.preparation import Prepared
from blemish.detection.scoring import Geometry
from blemish.errors import ModelFileError
from blemish.results import Evidence, FloatArray

PATCH: Final = 64  # prepared pixels a side that are shown: about what a cell sees most of
_QUALITIES: Final = (85, 75, 65, 55, 45, 35, 25)  # of JPEG; the first whose file is small enough is taken
_MOST_BYTES: Final = 1_200_000
Pictures = NDArray[np.uint8]  # (n, P, Q) grey, or (n, P, Q, 3) RGB
_Sample = TypeVar("_Sample", np.uint8, np.float32)


@dataclass(frozen=True)
class Patches:
    """Where the embeddings of a reference set come from, on pictures of good images."""

    pictures: Pictures
    places: NDArray[np.uint16]  # (embeddings, 3): picture, row, column, as `cut` takes them

    def show(self, index: int) -> FloatArray:
        """Return what was around an embedding: ``(PATCH, PATCH)``, of RGB ``(PATCH, PATCH, 3)``, float32 in [0, 1]."""
        picture, row, column = (int(value) for value in self.places[index])
        return np.asarray(cut(self.pictures[picture], row, column) / np.float32(255))

    def first(self, n: int) -> Patches:
        """Return the first ``n`` places alone, and the pictures that they are on."""
        places = self.places[:n]
        return Patches(self.pictures[: int(places[:, 0].max()) + 1], places)

    def joined(self, other: Patches) -> Patches:
        """Return these and others, whose places follow after these; pictures of the same size."""
        moved = other.places + np.array([len(self.pictures), 0, 0], dtype=np.uint16)
        return Patches(np.concatenate([self.pictures, other.pictures]), np.concatenate([self.places, moved]))

    def to_bytes(self) -> bytes:
        """Pack: a numpy archive of ``places``, of the ``size`` of a picture, and of a ``sheet`` of all as JPEG."""
        sheet = _sheet(self.pictures)
        stored = sheet[..., ::-1] if sheet.ndim == 3 else sheet  # OpenCV's order is BGR
        for quality in _QUALITIES:
            jpeg = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            if jpeg.size <= _MOST_BYTES:
                break
        packed = io.BytesIO()
        np.savez(packed, sheet=jpeg, size=np.array(self.pictures.shape), places=self.places)
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Patches:
        """Unpack.

        Raises:
            ModelFileError: `to_bytes` has not made it.
        """
        try:
            packed = read_arrays(data)
            (n, height, width, *colours), places = packed["size"].tolist(), packed["places"]
            kind = cv2.IMREAD_COLOR if colours else cv2.IMREAD_GRAYSCALE
            sheet = np.asarray(cv2.imdecode(packed["sheet"], kind), dtype=np.uint8)
            across = sheet.shape[1] // width
            tiles = sheet.reshape(sheet.shape[0] // height, height, across, width, *colours).swapaxes(1, 2)
            pictures = tiles.reshape(-1, height, width, *colours)[:n, ..., :: -1 if colours else 1]
            if places.shape[1:] != (3,) or (places >= [n, height, width]).any():
                raise ValueError(f"places {places.shape} do not fit {n} pictures of {height} x {width} pixels")
        except Exception as error:  # whatever foreign bytes make numpy and OpenCV raise
            raise ModelFileError(
                f"The patches in the model file cannot be read ({error}). Make it anew with `blemish fit`."
            ) from error
        return cls(pictures, places)


def cut(picture: NDArray[_Sample], row: int, column: int) -> NDArray[_Sample]:
    """Cut the patch around a place of a picture; beyond the border the picture goes on as its border does.

    Args:
        picture: ``(H, W)``, or ``(H, W, 3)``.
        row, column: the first pixel past the middle of the patch.

    Returns:
        ``(PATCH, PATCH)``, or ``(PATCH, PATCH, 3)``.
    """
    rows, columns = (
        np.clip(np.arange(first - PATCH // 2, first + PATCH // 2), 0, side - 1)
        for first, side in zip((row, column), picture.shape[:2], strict=True)
    )
    return picture[np.ix_(rows, columns)]


def find_evidence(
    distance_map: FloatArray,
    score: float,
    good_scores: Iterable[float],
    prepared: Prepared,
    nearest: int | None,
    patches: Patches | None,
    geometry: Geometry,
    size: tuple[int, int],
    pose: Pose | None = None,
) -> Evidence:
    """Compare the worst place of an image with the nearest good one.

    Args:
        distance_map: ``(h, w)`` float32.
        score: of the image.
        good_scores: of the good images that set the threshold.
        prepared: the image as the graph takes it, of ``(H', W')`` pixels.
        nearest: which embedding of the reference set is nearest to that of the worst cell; None: not told.
        patches: what these embeddings look like; None: not kept.
        geometry: of the cells on the image as it lay.
        size: rows and columns of that image.
        pose: by which it was turned; None: it was not.
    """
    i, j = (int(index) for index in np.unravel_index(distance_map.argmax(), distance_map.shape))
    lay = (i, j) if pose is None else pose.whence(i, j, *distance_map.shape)
    scores = list(good_scores)
    row, column = geometry.prepared_pixel(i, j)
    top, bottom = max(row - PATCH // 2, 0), min(row + PATCH // 2, prepared.shape[0])  # all that is cut from
    shown = None if nearest is None or patches is None else patches.show(nearest)
    return Evidence(
        row=min(round(geometry.row(lay[0])), size[0] - 1),  # the last cells may lie where the image was continued
        column=min(round(geometry.column(lay[1])), size[1] - 1),
        distance=float(distance_map[i, j]),
        n_good=len(scores),
        n_good_below=sum(good < score for good in scores),
        found=cut(prepared.picture(top, bottom), row - top, column),
        nearest=shown,
    )


def _sheet(pictures: Pictures) -> NDArray[np.uint8]:
    """Lay pictures side by side, about as many across as down: ``(n, P, Q[, 3])`` to one picture."""
    n, height, width, *colours = pictures.shape
    across = min(n, max(1, round((n * height / width) ** 0.5)))
    down = -(-n // across)
    filled = np.concatenate([pictures, np.zeros((down * across - n, height, width, *colours), np.uint8)])
    rows = filled.reshape(down, across, height, width, *colours).swapaxes(1, 2)
    return rows.reshape(down * height, across * width, *colours)
