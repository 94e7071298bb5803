"""A part's model, changed without training: its threshold, its zones, a file from elsewhere; and what speaks for it.

Nothing here changes a model file. Each change makes the next version, which names the one it was made from and is
active from then on; `Store.roll_back` goes back. What takes PyTorch is in `teaching`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.detection.decision import promise
from blemish.detection.detector import Detector
from blemish.detection.drift import find_drift, usual_range
from blemish.detection.model_file import Description, model_from_bytes, model_to_bytes
from blemish.detection.zones import Mask, from_text
from blemish.errors import DatasetError, ImageError, ModelFileError, SettingError
from blemish.images import Samples, read_samples, samples_of
from blemish.results import Threshold
from blemish.station.inspecting import STATISTICS, Inspector
from blemish.station.store import Filter, GoodImage, ModelVersion, Store, StoredInspection

Polygons = Sequence[Sequence[Sequence[float]]]  # corners (x, y) of each, as shares of width and height
ALPHA: Final = 0.01  # accepted false-alarm rate where nobody has said another
_MASK_SIDE: Final = 1024  # pixels of the longer side of a mask that polygons are drawn on
_MOST_POLYGONS, _MOST_CORNERS = 100, 1000
_MOST_SHOWN: Final = 1000  # inspections that a histogram or a chart is made of


class Adjuster:
    """Changes models of a station and tells what is known about them; used by many threads."""

    def __init__(self, store: Store, inspector: Inspector) -> None:
        self._store, self._inspector = store, inspector
        self._changing = threading.Lock()  # so that no change is made from a version that another one just replaced

    # -------------------------------------------------------------------------------------------------- good images

    def add_good_images(
        self, part: str, files: Sequence[tuple[str, bytes]], *, who: str
    ) -> tuple[list[GoodImage], list[str]]:
        """Keep good images to teach a part from.

        Args:
            part: name.
            files: name, for people, and bytes of each.
            who: brought them.

        Returns:
            Those that are kept, also where the same bytes were there before; and why each of the others is not.

        Raises:
            NotFoundError: no such part. StorageError: the disk is full; those before are kept.
        """
        self._store.part(part)
        kept, refused = [], []
        for name, data in files:
            shown = _printable(name)
            try:
                suffix = samples_of(data, shown).suffix
            except ImageError as error:
                refused.append(str(error))
            else:
                kept.append(self._store.add_good_image(part, data, suffix, name=shown, who=who))
        return kept, refused

    # ------------------------------------------------------------------------------------------------------ changes

    def set_threshold(
        self,
        part: str,
        *,
        value: float | None = None,
        alpha: float | None = None,
        unsure: float | None = None,
        who: str,
        why: str = "",
    ) -> ModelVersion:
        """Move the threshold of the active model, by hand or to a rate of false alarms.

        Args:
            part: name.
            value: the limit itself.
            alpha: accepted false-alarm rate; one of the two is given.
            unsure: share of good parts that may be stopped or sent to a person, above alpha; None: none is sent.
            who, why: for the history.

        Raises:
            SettingError: both or none are given, or out of range.
            NotFoundError: no such part, or it was not taught yet.
        """
        if (value is None) == (alpha is None):
            raise SettingError("Expected either a value of the threshold or alpha, a rate of false alarms.")
        with self._changing:
            detector, version = self._inspector.detector(part)
            if value is not None:
                changed = detector.with_threshold(value, unsure=unsure, who=who, why=why)
            else:
                assert alpha is not None
                changed = detector.with_alpha(alpha, unsure=unsure, who=who, why=why)
            return self._add(changed, version, "threshold", who=who, why=why, zones=version.summary.get("zones"))

    def set_zones(self, part: str, polygons: Polygons | None, *, who: str, why: str = "") -> ModelVersion:
        """Leave zones of the image out of every verdict, and set the threshold anew by the good images of the part.

        Args:
            part: name.
            polygons: corners (x, y) of each zone as shares of the image's width and height, from 0 at the left and top
                to 1; None or empty: the whole image counts again.
            who, why: for the history.

        Raises:
            SettingError: these are no polygons, or they leave nothing.
            DatasetError: the model has learned from all good images, as small enrolled ones have: teach it anew with
                the option ``zones``.
            NotFoundError: no such part, or it was not taught yet.
        """
        zones = checked_zones(polygons) if polygons else None
        ignored = None if zones is None else self.mask(part, zones)
        good = [self._store.path(image.file) for image in self._store.good_images(part, used_only=True)]
        with self._changing:
            detector, version = self._inspector.detector(part)
            limit = detector.threshold
            alpha, unsure = limit.alpha or ALPHA, None if limit.unsure is None else limit.unsure.alpha
            try:
                changed = detector.with_zones(ignored, good, alpha=alpha, unsure=unsure, who=who, why=why)
            except DatasetError as error:
                raise DatasetError(f"{error} Here: start teaching anew with these zones.") from error
            return self._add(changed, version, "zones", who=who, why=why, zones=zones)

    def add_model(self, part: str, data: bytes, *, who: str, why: str = "", activate: bool = True) -> ModelVersion:
        """Take a model file from elsewhere.

        Args:
            part: name.
            data: bytes of a ``.blemish`` file.
            who, why: for the history.
            activate: let it inspect from now on.

        Raises:
            ModelFileError: it is none, damaged, too new, or its graph does not run.
            NotFoundError: no such part.
        """
        self._store.part(part)
        model = model_from_bytes(data, "the file that was sent")
        detector = Detector(model, threads=1)
        try:
            detector.inspect(self._sample(part))
        except ImageError as error:  # zones or a size that leave nothing: then it cannot inspect this part
            raise ModelFileError(f"The model cannot inspect an image of part '{part}': {error}") from error
        return self._store.add_model(
            part, data, origin="upload", who=who, why=why, summary=summary_of(detector.description), activate=activate
        )

    def _add(
        self, changed: Detector, version: ModelVersion, origin: str, *, who: str, why: str, zones: Polygons | None
    ) -> ModelVersion:
        return self._store.add_model(
            version.part,
            model_to_bytes(changed.model),
            origin=origin,
            who=who,
            why=why,
            parent=version.version,
            summary={**version.summary, **summary_of(changed.description, zones)},
            activate=True,
        )

    def mask(self, part: str, polygons: Polygons) -> Mask:
        """Draw polygons, as `set_zones` takes them, into a mask: ``(H, W)`` bool with the shape of the part's images.

        Raises:
            SettingError: these are no polygons, or they leave nothing or everything.
        """
        outlines = [np.array(polygon) for polygon in checked_zones(polygons)]
        height, width = self._shape(part)
        scale = _MASK_SIDE / max(height, width)
        mask = np.zeros((max(round(scale * height), 1), max(round(scale * width), 1)), dtype=np.uint8)
        size = np.array(mask.shape[::-1])
        cv2.fillPoly(mask, [np.rint(outline * size - 0.5).astype(np.int32) for outline in outlines], 1)
        ignored: Mask = mask > 0
        if ignored.all() or not ignored.any():
            what = "everything" if ignored.any() else "nothing"
            raise SettingError(f"These zones ignore {what}; expected a part of the image.")
        return ignored

    def _sample(self, part: str) -> NDArray[np.generic]:
        """Return an image to try a model on: a good one where there is one, else noise."""
        samples = self._first_good(part)
        if samples is not None:
            return samples.rows(0, samples.height)
        return np.random.default_rng(0).random((256, 256), dtype=np.float32)

    def _shape(self, part: str) -> tuple[int, int]:
        """Return height and width of what the part's images look like; a square where there is none yet."""
        newest = self._store.inspections(Filter(part=part), limit=1)
        if newest:
            return newest[0].result["height"], newest[0].result["width"]
        samples = self._first_good(part)
        return (1, 1) if samples is None else (samples.height, samples.width)

    def _first_good(self, part: str) -> Samples | None:
        for image in self._store.good_images(part):
            return read_samples(self._store.path(image.file))
        return None

    # ------------------------------------------------------------------------------------------------------ to judge

    def what_if(self, part: str, version: int | None = None) -> dict[str, Any]:
        """Return what it takes to see how many parts any threshold would stop.

        Args:
            part: name.
            version: of its model; None: the active one.

        Returns:
            ``version``; ``threshold``, its value, rates and promise; ``good``, scores of the good images that set it;
            ``inspections``, newest first, at most 1000, each with ``id``, ``score``, ``verdict``, ``final`` and
            ``decided``. They are those whose scores this version would give again.

        Raises:
            NotFoundError: no such part or version, or it was not taught yet.
        """
        detector, chosen = self._inspector.detector(part, version)
        stored = self._scored_alike(chosen, _MOST_SHOWN)
        return {
            "version": chosen.version,
            "threshold": threshold_of(detector.threshold),
            "good": sorted(detector.description.good_scores.values()),
            "inspections": [
                {
                    "id": each.id,
                    "score": each.score,
                    "verdict": each.verdict.value,
                    "final": each.final.value,
                    "decided": None if each.decided is None else each.decided.value,
                }
                for each in stored
            ],
        }

    def drift(self, part: str, limit: int = 200) -> dict[str, Any]:
        """Compare the last inspections, as a whole, with the good images that set the threshold.

        Args:
            part: name.
            limit: at most so many inspections, 1 to 1000.

        Returns:
            ``warnings``, sentences that say what has moved and what to check; ``statistics``: name -> ``low`` and
            ``high``, between which most good images lie, ``values``, of the inspections, oldest first, and ``moved``;
            ``sequences`` and ``ids`` of the inspections.

        Raises:
            SettingError: the limit is out of range.
            NotFoundError: no such part, or it was not taught yet.
        """
        if not 1 <= limit <= _MOST_SHOWN:
            raise SettingError(f"limit is {limit}; expected 1 to {_MOST_SHOWN}.")
        detector, version = self._inspector.detector(part)
        stored = [each for each in reversed(self._scored_alike(version, limit)) if STATISTICS in each.result]
        good = detector.description.good_statistics
        seen = {name: [float(each.result[STATISTICS][name]) for each in stored] for name in good}
        drifts = find_drift(good, seen)
        moved = {each.statistic for each in drifts}
        statistics = {}
        for name, values in seen.items():
            low, high = usual_range(good[name])
            statistics[name] = {"low": low, "high": high, "values": values, "moved": name in moved}
        return {
            "version": version.version,
            "warnings": [each.sentence() for each in drifts],
            "statistics": statistics,
            "sequences": [each.sequence for each in stored],
            "ids": [each.id for each in stored],
        }

    def _scored_alike(self, version: ModelVersion, limit: int) -> list[StoredInspection]:
        """Return inspections whose scores this version would give again, newest first: its graph and zones did."""
        scorer: dict[int, int] = {}  # version -> the one that first scored like it
        for model in reversed(self._store.models(version.part)):
            moved = model.origin == "threshold" and model.parent in scorer
            scorer[model.version] = scorer[model.parent] if moved and model.parent else model.version
        found: list[StoredInspection] = []
        for number in sorted(scorer, reverse=True):
            if scorer[number] == scorer[version.version] and len(found) < limit:
                found += self._store.inspections(Filter(part=version.part, version=number), limit=limit)
        return sorted(found, key=lambda each: -each.sequence)[:limit]


def summary_of(about: Description, zones: Polygons | None = None) -> dict[str, Any]:
    """Tell a model in a few plain values, for lists.

    Args:
        about: what the model file says.
        zones: polygons of its ignored zones, as `Adjuster.set_zones` takes them; None: taken from its mask.

    Returns:
        ``method``, ``reference``, ``threshold`` (see `threshold_of`), ``n_learned``, ``n_held_out``, ``notes``,
        ``zones`` (polygons or None) and ``made``, when and by which versions.
    """
    if zones is None and about.ignored is not None:
        zones = _outlines(from_text(about.ignored))
    return {
        "method": about.method,
        "reference": about.reference,
        "threshold": threshold_of(about.threshold),
        "n_learned": len(about.learned),
        "n_held_out": len(about.good_scores),
        "notes": list(about.notes),
        "zones": zones,
        "made": about.provenance["made"],
    }


def threshold_of(threshold: Threshold) -> dict[str, Any]:
    """Tell a threshold as plain data, with its promise in words and the lower limit, where there is one."""
    return {**asdict(threshold), "promise": promise(threshold)}


def checked_zones(polygons: Polygons) -> list[list[list[float]]]:
    """Return polygons, as `Adjuster.set_zones` takes them, as plain numbers.

    Raises:
        SettingError: these are no polygons.
    """
    expected = (
        f"expected 1 to {_MOST_POLYGONS} polygons of 3 to {_MOST_CORNERS} corners [x, y], each from 0 to 1: shares of "
        "the image's width and height."
    )
    try:
        outlines = [
            np.array([(float(x), float(y)) for x, y in polygon], dtype=np.float64).reshape(-1, 2)
            for polygon in polygons
        ]
    except (TypeError, ValueError) as error:
        raise SettingError(f"These zones are no polygons ({error}); {expected}") from error
    if not 1 <= len(outlines) <= _MOST_POLYGONS:
        raise SettingError(f"Found {len(outlines)} polygons; {expected}")
    for outline in outlines:
        if not 3 <= len(outline) <= _MOST_CORNERS or not ((outline >= 0) & (outline <= 1)).all():  # so that NaN fails
            raise SettingError(f"Found a polygon {outline.tolist()[:3]} of {len(outline)} corners; {expected}")
    return [outline.tolist() for outline in outlines]


def _outlines(ignored: Mask) -> list[list[list[float]]]:
    """Return polygons around the zones of a mask, to be shown; of a ring, the outer edge."""
    height, width = ignored.shape
    found, _ = cv2.findContours(ignored.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    size = np.array([width, height])
    polygons = [((contour[:, 0] + 0.5) / size).round(5).tolist() for contour in found if len(contour) >= 3]
    return polygons[:_MOST_POLYGONS]


def _printable(name: str) -> str:
    """Take a file's name as it came, without folders and without what cannot be shown."""
    shown = "".join(letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable())
    return shown or "unnamed"
