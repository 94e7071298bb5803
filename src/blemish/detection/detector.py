"""The Detector: one model file, ready to inspect. The whole path of an image is the method `Detector.inspect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.datasets import content_hash
from blemish.detection.decision import conformal_threshold, decide, limit_exceeded, require_alpha, threshold_at
from blemish.detection.drift import image_statistics
from blemish.detection.engines import DEFAULT, INT8, installed_engines
from blemish.detection.evidence import Patches, find_evidence
from blemish.detection.former import restored
from blemish.detection.history import changed, undone
from blemish.detection.model_file import HELD_OUT, NEAREST, Description, Model, read_model, write_model
from blemish.detection.preparation import Prepared
from blemish.detection.regions import find_regions
from blemish.detection.runtime import Distances, Runtime, fastest_engine
from blemish.detection.scoring import N_WORST, Geometry, map_at
from blemish.detection.tiling import measure
from blemish.detection.zones import from_text, to_text
from blemish.errors import DatasetError, ImageError, SettingError
from blemish.progress import Progress, silent
from blemish.results import Evidence, Inspection, Threshold, Verdict
from blemish.strips import GreyImage

_USUAL_SIDE = 1024  # pixels, of an image that stands for all when runtimes are measured
# A file, or pixels as `images.as_image` takes them, or a picture that was opened already.
ImageSource = Path | str | NDArray[np.generic] | GreyImage


class Detector:
    """Finds defects on images of one category.

    It exists only ready to inspect: `Detector.load`, `blemish.fit` and `blemish.enroll` return one.

    It may be used by several threads at once.

    Args:
        model: a model file in memory.
        mm_per_pixel: side of a pixel of the images on the surface, for areas in square millimetres; None: not known.
        runtime: the library that runs the graph, "onnxruntime" or "openvino"; scores are the same within 1e-4.
            A network of 8-bit integers (`learning.quantise`) runs by the former only.
        threads: cores that work on one image, where several images share the machine; None: all.

    Raises:
        ModelFileError: the graph cannot be loaded.
        SettingError: mm_per_pixel is not above 0, or there is no such runtime, or not for this network.
        MissingExtraError: the runtime is not installed.
    """

    def __init__(
        self, model: Model, *, mm_per_pixel: float | None = None, runtime: str = DEFAULT, threads: int | None = None
    ) -> None:
        if mm_per_pixel is not None and not 0 < mm_per_pixel < np.inf:
            raise SettingError(f"Found {mm_per_pixel} mm per pixel; expected more than 0, such as 0.05.")
        if model.description.precision == INT8 and runtime != DEFAULT:
            raise SettingError(
                f"Found runtime '{runtime}' for a network of 8-bit integers, which libraries round in their own ways; "
                f"expected '{DEFAULT}', by which it was checked that verdicts hold. `blemish threshold --undo`, "
                "once for each change since `quantise` and for that, brings back the network in float32, which decides "
                "the same everywhere."
            )
        self.model = model
        self.mm_per_pixel = mm_per_pixel
        self.runtime = runtime
        self._runtime = Runtime(model.graph, runtime, threads)
        ignored = model.description.ignored
        self._ignored = None if ignored is None else from_text(ignored)

    @classmethod
    def load(cls, path: Path | str, *, mm_per_pixel: float | None = None, runtime: str = DEFAULT) -> Detector:
        """Read a ``.blemish`` file.

        Args:
            path: of the file.
            mm_per_pixel: as for `Detector`.
            runtime: as for `Detector`, or "auto": measure the installed ones and take the fastest.

        Raises:
            ModelFileError: there is none, or it is damaged, foreign or too new.
            SettingError, MissingExtraError: as for `Detector`.
        """
        model = read_model(Path(path))
        if runtime == "auto":
            image = np.random.default_rng(0).random((_USUAL_SIDE, _USUAL_SIDE), dtype=np.float32)
            prepared = model.description.preparation.prepared(GreyImage.of(image))
            names = installed_engines(model.description.precision)
            runtime = fastest_engine(model.graph, prepared.all_pixels(), names)
        return cls(model, mm_per_pixel=mm_per_pixel, runtime=runtime)

    def save(self, path: Path | str) -> None:
        """Write the ``.blemish`` file, at once or not at all.

        Raises:
            OutputError: the place cannot be written.
        """
        write_model(self.model, Path(path))

    def with_threads(self, threads: int) -> Detector:
        """Return this detector with so many cores for an image: one, where several images are inspected at once."""
        return self._again(self.description, threads)

    @property
    def fingerprint(self) -> str:
        """What tells this detector from others that may find something else."""
        scale = "" if self.mm_per_pixel is None else f" at {self.mm_per_pixel} mm per pixel"
        return f"{self.model.fingerprint} by {self.runtime}{scale}"

    @property
    def description(self) -> Description:
        """What the model file says about itself."""
        return self.model.description

    @property
    def threshold(self) -> Threshold:
        """The limit on the score, and its promise."""
        return self.model.description.threshold

    def inspect(self, image: ImageSource) -> Inspection:
        """Inspect one image: from path or pixels to the verdict.

        Args:
            image: a file, an array as `images.as_image` takes it, or a `GreyImage`. Where good images are in colour
                (``description.preparation.coloured``), one that is grey, as `images.read_image` makes of any file,
                lacks their colours.

        Raises:
            ImageError: the image cannot be read or used.
        """
        grey = _read(image)  # (H, W) in [0, 1]
        prepared = self.description.preparation.prepared(grey)
        distances = self.measure(prepared, *grey.shape)
        verdict = decide(distances.score, self.threshold)
        distance_map = distances.on_image(prepared.pose)
        geometry = self.description.preparation.geometry(*grey.shape)
        limit = limit_exceeded(verdict, self.threshold)
        return Inspection(
            path=Path(image) if isinstance(image, (Path, str)) else None,
            verdict=verdict,
            score=distances.score,
            threshold=self.threshold.value,
            max_distance=distances.max_distance,
            mean_distance=distances.mean_distance,
            regions=find_regions(distance_map, limit, geometry, *grey.shape, mm_per_pixel=self.mm_per_pixel),
            height=grey.shape[0],
            width=grey.shape[1],
            grey=grey.without_colours(),
            map_at=partial(map_at, distance_map, geometry, grey.shape),
            evidence=None if verdict is Verdict.GOOD else self._evidence(prepared, distances, geometry, grey.shape),
            ignored=self._ignored,
        )

    def calibrate(
        self,
        good: Sequence[ImageSource],
        *,
        alpha: float,
        unsure: float | None = None,
        who: str = "",
        why: str = "",
        progress: Progress = silent,
    ) -> Detector:
        """Set the threshold anew from good images that took no part in training.

        Args:
            good: held-out good images, at least one; none that the model has learned from. Copies of a file count once.
            alpha: accepted false-alarm rate, above 0 and below 1.
            unsure: share of good images that may be stopped or sent to a person, above alpha; None: none is sent.
            who, why: for the model's history; by default the user of this process, without a reason.
            progress: told after each image.

        Returns:
            A new detector with the same graph; this one is unchanged. The change is noted in the model's history, and
            the images among those it has seen, so that `evaluate` will not judge it by them.

        Raises:
            DatasetError: the model has learned from some of the files; on them it scores too well to promise anything.
            ImageError: an image cannot be used. SettingError: a rate is out of range, or there are no images.
        """
        return self._changed(self.calibrated(_by_content(good), alpha, unsure, progress), "calibrate", who, why)

    def with_zones(
        self,
        ignored: NDArray[np.bool_] | None,
        good: Sequence[ImageSource],
        *,
        alpha: float,
        unsure: float | None = None,
        who: str = "",
        why: str = "",
        progress: Progress = silent,
    ) -> Detector:
        """Leave zones of every image out of score, regions and map, and set the threshold anew without them.

        Args:
            ignored: ``(H, W)`` bool, true where nothing counts, for example from `zones.read_zones`; it is scaled with
                the image. None: everything counts again.
            good: good images, as for `calibrate`, but those that the model has learned from are passed over. So the
                images that `fit` was given will do: among them are the held-out ones.
            alpha, unsure, who, why, progress: as for `calibrate`.

        Raises:
            DatasetError: the model has learned from all the images. ModelFileError: an older Blemish made the model,
                whose graph takes no zones. ImageError, SettingError: as for `calibrate`.
        """
        about = self.description
        unseen = {key: image for key, image in _by_content(good).items() if key not in about.learned}
        if not unseen:
            raise DatasetError(
                f"The model has learned from all of these {len(good)} images. Under other zones the threshold must be "
                "set anew: expected good images that it has not learned from, such as those that `fit` held out. A "
                "model made by `enroll` can be made anew with the zones, from the same images."
            )
        zoned = replace(about, ignored=None if ignored is None else to_text(ignored), own_scores={})
        calibrated = self.with_description(zoned).calibrated(unseen, alpha, unsure, progress)
        return self._changed(calibrated, "zones", who, why)

    def with_alpha(self, alpha: float, *, unsure: float | None = None, who: str = "", why: str = "") -> Detector:
        """Move the threshold to another false-alarm rate, judging from the good images that it was set by.

        Args:
            alpha, unsure, who, why: as for `calibrate`.

        Returns:
            A new detector with the same graph, as from `calibrate`.

        Raises:
            SettingError: a rate is out of range, or the model file keeps no scores of good images.
        """
        threshold = conformal_threshold(self._good_scores(), alpha, unsure)
        return self._changed(replace(self.description, threshold=threshold), "alpha", who, why)

    def with_threshold(self, value: float, *, unsure: float | None = None, who: str = "", why: str = "") -> Detector:
        """Set the threshold by hand; what it promises then follows from the good images that it was set by.

        Args:
            value: an image is defective when its score is above this.
            unsure, who, why: as for `calibrate`.

        Returns:
            A new detector with the same graph, as from `calibrate`.

        Raises:
            SettingError: the value is not finite, or below the lower limit; unsure is out of range, or the model file
                keeps no scores of good images, which the lower limit comes from.
        """
        scores = list(self.description.good_scores.values()) if unsure is None else self._good_scores()
        threshold = threshold_at(value, scores, unsure)
        return self._changed(replace(self.description, threshold=threshold), "set", who, why)

    def undo(self, *, who: str = "", why: str = "") -> Detector:
        """Restore what was before the last change; once more, what was before the change before that.

        Images that `calibrate` has used stay among those that the model has seen.

        Args:
            who, why: as for `calibrate`.

        Raises:
            SettingError: there is nothing to undo. ModelFileError: what was before does not fit.
        """
        return self.with_description(undone(self.description, who=who, why=why))

    def calibrated(
        self, images: Mapping[str, ImageSource], alpha: float, unsure: float | None, progress: Progress = silent
    ) -> Description:
        """Say what `calibrate` would make of the description, but for a note in its history.

        Args:
            images: good ones, by content hash; at least one.
            alpha, unsure, progress: as for `calibrate`.

        Raises:
            DatasetError, ImageError, SettingError: as for `calibrate`.
        """
        require_alpha(alpha, unsure)
        provenance = self._provenance_with(images)
        scores: dict[str, float] = {}
        seen: list[dict[str, float]] = []
        for key, image in images.items():
            grey = _read(image)
            distances = self.measure(self.description.preparation.prepared(grey), *grey.shape)
            scores[key] = distances.score
            seen.append(image_statistics(grey, distances.mean_distance))
            progress("setting the threshold", len(scores), len(images))
        return replace(limited(self.description, scores, seen, alpha, unsure), provenance=provenance)

    def _changed(self, description: Description, what: str, who: str, why: str) -> Detector:
        return self.with_description(changed(self.description, description, what, who=who, why=why))

    def with_description(self, description: Description) -> Detector:
        """Replace what the model file says about its graph; whoever changes a verdict notes it there.

        The graph stays, unless the description speaks of one that was there before (`former.restored`).
        """
        return self._again(description)

    def _again(self, description: Description, threads: int | None = None) -> Detector:
        model = restored(self.model, description)
        return Detector(model, mm_per_pixel=self.mm_per_pixel, runtime=self.runtime, threads=threads)

    def _good_scores(self) -> list[float]:
        if not self.description.good_scores:
            raise SettingError(
                "The model file keeps no scores of good images, for it was made by Blemish 0.1. Expected some, to know "
                "how many good parts a limit stops: use `calibrate` with good images."
            )
        return list(self.description.good_scores.values())

    def _provenance_with(self, held_out: Mapping[str, ImageSource]) -> dict[str, Any]:
        """Note which files set the threshold; refuse those that were learned from."""
        about = self.description
        if known := about.learned & set(held_out):
            raise DatasetError(
                f"The model has learned from {len(known)} of these {len(held_out)} images, such as "
                f"{held_out[min(known)]}. Expected good images that took no part in `fit`: give others."
            )
        files = [content for content, image in held_out.items() if isinstance(image, (Path, str))]
        images = about.provenance["images"]
        noted = {**images.get(about.category, {}), **dict.fromkeys(files, HELD_OUT)}
        return {**about.provenance, "images": {**images, about.category: noted}}

    def measure(self, prepared: Prepared, height: int, width: int) -> Distances:
        """Run the graph on a prepared image.

        Args:
            prepared: of ``(H, W)`` pixels, by the model's preparation.
            height, width: pixels of the image before that, to which the ignored zones belong.

        Raises:
            ImageError: the ignored zones leave nothing of it. ModelFileError: as for `Runtime.run`.
        """
        about = self.description
        counted = about.preparation.counted(self._ignored, height, width, prepared.pose)
        if counted is not None and not counted.any():
            raise ImageError(
                f"The ignored zones leave nothing of an image of {height} x {width} pixels; "
                "expected a larger one, like those the zones were drawn on."
            )
        n_worst = N_WORST if about.method == NEAREST else 1
        return measure(self._runtime, prepared, about.preparation, n_worst, counted)

    def _evidence(
        self, prepared: Prepared, distances: Distances, geometry: Geometry, size: tuple[int, int]
    ) -> Evidence:
        return find_evidence(
            distances.distance_map,
            distances.score,
            self.description.good_scores.values(),
            prepared,
            distances.nearest,
            self._patches,
            geometry,
            size,
            prepared.pose,
        )

    @cached_property
    def _patches(self) -> Patches | None:
        return None if self.model.patches is None else Patches.from_bytes(self.model.patches)


def limited(
    about: Description,
    scores: dict[str, float],
    statistics: Sequence[Mapping[str, float]],
    alpha: float,
    unsure: float | None,
) -> Description:
    """Set the limit by scores of good images, and keep these and the images' statistics.

    Args:
        about: a detector.
        scores: content hash -> score, of at least one image.
        statistics: `drift.image_statistics` of each, in the same order.
        alpha, unsure: accepted rates, as for `Detector.calibrate`.
    """
    return replace(
        about,
        threshold=conformal_threshold(list(scores.values()), alpha, unsure),
        good_scores=scores,
        good_statistics={name: [each[name] for each in statistics] for name in statistics[0]},
    )


def _by_content(images: Sequence[ImageSource]) -> dict[str, ImageSource]:
    """Key images by content, so that copies of a file drop out: counted twice they would promise more than they can."""
    by_content: dict[str, ImageSource] = {}
    for index, image in enumerate(images):
        key = content_hash(Path(image)) if isinstance(image, (Path, str)) else f"array {index}"
        by_content.setdefault(key, image)
    return by_content


def _read(image: ImageSource) -> GreyImage:
    if isinstance(image, GreyImage):
        return image
    return GreyImage.open(image) if isinstance(image, (Path, str)) else GreyImage.of(image)
