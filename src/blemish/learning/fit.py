"""From good images to a Detector: `fit` trains a network for one category, `enroll` takes one that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.datasets import category_name, read_category, read_good, split_good
from blemish.detection.decision import require_alpha
from blemish.detection.detector import Detector
from blemish.detection.model_file import LEARNED, NEAREST, TAUGHT
from blemish.errors import DatasetError, SettingError
from blemish.learning.assembly import (
    GoodImages,
    Making,
    Terms,
    divide_unseen,
    hold_out,
    nearest_detector,
    prototype_detector,
    provenance,
    run_id,
)
from blemish.learning.known import KnownDefects, MarkedImages, marked_images
from blemish.learning.nearest import NearestSettings, NearestTriplets, PreparedImages
from blemish.learning.network import BoundedNetwork, bounded_network, triplet_network
from blemish.learning.pretrained import universal_network
from blemish.learning.reference import Reference
from blemish.learning.survey import survey
from blemish.learning.training import DEFAULT_MINUTES, train
from blemish.learning.triplets import PAPER_SCALES, PatchPyramid, PatchSettings, PatchTriplets, TrainingImage
from blemish.progress import Progress, silent
from blemish.strips import read_all

PAPER_METHODS: Final = {"tayeh2020": "random_erasing", "staar2019": "gaussian_noise"}  # -> what makes a negative
METHODS: Final = (NEAREST, *PAPER_METHODS)
DEFAULT_ALPHA: Final = 0.01
_AUTO: Final = "auto"
_FEWEST: Final = 5  # good images from which our method can learn how they differ
# Steps for each image that is learned from: with more a network knows few images by heart. Random weights have all to
# learn first.
_MOST_STEPS: Final = 10
_MOST_STEPS_FROM_SCRATCH: Final = 32


def fit(
    good: Path | str | Sequence[Path],
    *,
    category: str = "",
    method: str = NEAREST,
    reference: str = _AUTO,
    minutes: float | None = None,
    steps: int | None = None,
    side: int | None = None,
    epochs: int | None = None,
    alpha: float = DEFAULT_ALPHA,
    unsure: float | None = None,
    ignored: NDArray[np.bool_] | None = None,
    seed: int = 0,
    half: bool = False,
    from_scratch: bool = False,
    defective: Path | str | Sequence[Path | str] = (),
    checkpoint_path: Path | None = None,
    progress: Progress = silent,
) -> Detector:
    """Learn what good looks like from good images of one category.

    Args:
        good: a folder of good images, a category folder in MVTec AD's layout, a CSV, or a list of files; at least 5
            (2 with the paper's methods), 50 or more make a useful detector.
        category: name kept in the model file; by default the folder's.
        method: "nearest" (ours), or the paper's "tayeh2020" (random erasing) or "staar2019" (Gaussian noise).
        reference: "location" for parts that always lie the same way, "category" for textures and parts that lie freely,
            "auto" to look at the images and choose ("location" with the paper's methods).
        minutes: about how long to train; by default 5. With "nearest" only, and at most 10 steps for each image that is
            learned from (32 from scratch).
        steps: train exactly so many steps instead: same seed, same images, same steps, same weights on a CPU. With
            "nearest" only.
        side: pixels a side to which images are scaled: 1024 (the default), 512, 256 or 128. Paper's methods only.
        epochs: passes over the images; by default 40. Paper's methods only.
        alpha: accepted false-alarm rate; the threshold is set for it on a fifth of the images, kept out of training.
        unsure: share of good parts that may be stopped or sent to a person, above alpha; None: none is sent.
        ignored: ``(H, W)`` bool, true where nothing counts, neither in training nor in inspection, for example from
            `zones.read_zones`; it is scaled with the images. "nearest" with the reference "location" only: elsewhere a
            zone is no one place of the surface. `Detector.with_zones` sets zones for any detector, after training.
        seed: of everything random.
        half: learn from a random half of all good images of a category folder (or CSV), as in the paper (sec. III), and
            leave the other half for `evaluate`.
        from_scratch: begin with random weights and not with the universal network that comes with Blemish. "nearest"
            only; the paper's methods always do.
        defective: images with known defects, beside the drawn ones; one or several of a file, a folder, a category
            folder or a CSV. A mask must show where the defect is, see `datasets.read_marked`; images without one are
            left out, which the notes say. "nearest" only. `evaluate` will not judge the model by them.
        checkpoint_path: where an unfinished run is kept and taken up again; None: nowhere.
        progress: told after every step.

    Returns:
        A detector with its threshold set; its description's notes say what was chosen, and why. Ctrl-C during training
        keeps what has been learned so far.

    Raises:
        DatasetError: too few images, images all alike, a folder of defective ones, or none of the defective images has
        a mask, or one is among the good. ImageError: images that cannot be
        read. SettingError: a setting out of range. TrainingError: see `learning.training.train`.
    """
    if method not in METHODS:
        raise SettingError(f"Found method {method!r}; expected one of {', '.join(METHODS)}.")
    foreign = (
        {"side": side, "epochs": epochs}
        if method == NEAREST
        else {
            "minutes": minutes,
            "steps": steps,
            "ignored": ignored,
            "from_scratch": from_scratch or None,
            "defective": defective or None,
        }
    )
    if given := [name for name, value in foreign.items() if value is not None]:
        raise SettingError(f"Found {' and '.join(given)} with method {method!r}, which does not use it. Leave it out.")
    kind = reference_kind(reference)
    require_alpha(alpha, unsure)
    terms = Terms(alpha, unsure, ignored, seed)
    if method == NEAREST:
        duration = _training_time(minutes, steps)
        images, hashes = _divide(good, category, seed, half, _FEWEST)
        sources = [defective] if isinstance(defective, (Path, str)) else defective
        marked = marked_images(sources, (*images.learned, *images.held_out)) if sources else None
        return _fit_nearest(
            images,
            terms,
            hashes=hashes,
            marked=marked,
            kind=kind,
            from_scratch=from_scratch,
            duration=duration,
            checkpoint_path=checkpoint_path,
            progress=progress,
        )
    sized = 1024 if side is None else side
    scales_for(sized)
    paper = PatchSettings(epochs=40 if epochs is None else epochs, defect=PAPER_METHODS[method], seed=seed)
    images, hashes = _divide(good, category, seed, half, fewest=2)
    return _fit_paper(
        images,
        terms,
        hashes=hashes,
        kind=kind or Reference.LOCATION,
        method=method,
        side=sized,
        settings=paper,
        checkpoint_path=checkpoint_path,
        progress=progress,
    )


def _fit_nearest(
    images: GoodImages,
    terms: Terms,
    *,
    hashes: dict[str, dict[str, str]],
    marked: MarkedImages | None,
    kind: Reference | None,
    from_scratch: bool,
    duration: dict[str, Any],
    checkpoint_path: Path | None,
    progress: Progress,
) -> Detector:
    seen = survey(images.learned, progress)
    if terms.ignored is not None:  # a zone that is not learned from is one place of all images
        seen = seen.as_they_lie()
    kind = kind or seen.reference
    preparation = seen.preparation(kind)
    if terms.ignored is not None and kind is not Reference.LOCATION:
        raise SettingError(
            f"{seen.reasons(kind)} Training can ignore zones only where parts lie alike. Expected no zones, or the "
            "reference 'location': fit without them, and set them afterwards with `blemish zones`."
        )
    prepared = PreparedImages(images.learned, preparation, progress)
    counted = preparation.counted(terms.ignored, *prepared.size(0))  # all have one size where zones are allowed
    settings = NearestSettings.of(kind, seen.explained_as_they_lie, terms.seed)
    start = None if from_scratch else universal_network()
    known = None
    if marked is not None:
        in_grey = replace(preparation, coloured=False)  # training sees no more
        defective = PreparedImages([sample.path for sample in marked.samples.values()], in_grey, progress)
        known = KnownDefects.of(marked, defective, preparation)
    learner = NearestTriplets(prepared, settings, start, counted, known)
    steps_an_image = _MOST_STEPS_FROM_SCRATCH if from_scratch else _MOST_STEPS
    most_steps = steps_an_image * len(images.learned)
    with closing(learner):
        summary = train(
            learner,
            **duration,
            most_steps=most_steps,
            run_id=run_id(hashes),
            checkpoint_path=checkpoint_path,
            progress=progress,
        )
    training = {
        **asdict(settings),
        **asdict(summary),
        "bfloat16": learner.bfloat16,
        "waited_s": learner.waited_s,
        "start": start.about if start else None,
    }
    notes = [seen.reasons(kind), *seen.remarks(preparation)]
    if "minutes" in duration and summary.steps == most_steps:
        notes.append(
            f"Training ended after {most_steps} steps, {steps_an_image} for each of the {len(images.learned)} images "
            "that were learned from: more would only make it know these by heart. Where images are few, `enroll` "
            "may find more: if you have defective images, let `blemish compare` judge both."
        )
    if marked is not None:
        notes.append(marked.note())
        hashes = {images.category: {**hashes[images.category], **dict.fromkeys(marked.samples, TAUGHT)}}
    return nearest_detector(
        learner.network,
        prepared,
        images,
        terms,
        kind=kind,
        preparation=preparation,
        notes=notes,
        making=Making(NEAREST, training, hashes),
        progress=progress,
    )


def _fit_paper(
    images: GoodImages,
    terms: Terms,
    *,
    hashes: dict[str, dict[str, str]],
    kind: Reference,
    method: str,
    side: int,
    settings: PatchSettings,
    checkpoint_path: Path | None,
    progress: Progress,
) -> Detector:
    pyramid = PatchPyramid(
        [TrainingImage(path, images.category) for path in images.learned], scales_for(side), progress
    )
    learner = PatchTriplets(pyramid, settings)
    summary = train(
        learner, n_steps=learner.n_steps, run_id=run_id(hashes), checkpoint_path=checkpoint_path, progress=progress
    )
    training = {**asdict(settings), "scales": pyramid.scales, **asdict(summary)}
    making = Making(method, training, hashes)
    return prototype_detector(learner.network, images, terms, kind=kind, side=side, making=making, progress=progress)


def enroll(
    good: Path | str | Sequence[Path],
    *,
    network: Detector | None = None,
    category: str = "",
    reference: str = _AUTO,
    alpha: float = DEFAULT_ALPHA,
    unsure: float | None = None,
    ignored: NDArray[np.bool_] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Detector:
    """Make a detector for a new category without training: good images only make its reference set and threshold.

    With "nearest", up to 24 good images do both when a fifth of them is too few to promise alpha; see
    `learning.assembly.divide_unseen`.

    Args:
        good: as for `fit`; at least 2, and 5 to 50 are useful.
        network: whose network is borrowed; None: the universal network that comes with Blemish.
        category, alpha, unsure, seed, progress: as for `fit`.
        ignored: ``(H, W)`` bool, true where nothing counts, as for `Detector.with_zones`; "nearest" only.
        reference: as for `fit`; with a network of the paper's methods "auto" is the kind that it uses already.

    Raises:
        DatasetError, ImageError, SettingError: as for `fit`. ModelFileError: the stored weights do not fit.

    Source: Tayeh et al. 2020, sec. III and IV-E: unknown categories only get a prototype.
    """
    kind = reference_kind(reference)
    require_alpha(alpha, unsure)
    terms = Terms(alpha, unsure, ignored, seed)
    learned = frozenset() if network is None else network.description.learned
    paths, name = _paths(good), category or _category_name(good)
    if network is None or network.description.method == NEAREST:
        images = divide_unseen(paths, name, seed, alpha, learned)
    else:  # whose prototype is a mean, and an image may well be nearer to the mean of the others
        images = hold_out(paths, name, seed, learned)
    if network is None:
        pretrained = universal_network()
        bounded, making = pretrained.network, Making(NEAREST, {"start": pretrained.about}, provenance([images]))
    else:
        read_all(images.held_out)
        about, weights = network.description, network.model.weights
        making = Making(about.method, about.training, _joined(about.provenance["images"], images))
        if about.method != NEAREST:
            if ignored is not None:
                raise SettingError(
                    f"Found ignored zones with a network of {about.method}. Leave them out, and set them afterwards "
                    "with `blemish zones`."
                )
            side = about.preparation.height
            assert side is not None, "the paper's images are squares"
            return prototype_detector(
                triplet_network(weights),
                images,
                terms,
                kind=kind or Reference(about.reference),
                side=side,
                making=making,
                progress=progress,
            )
        bounded = bounded_network(weights)
    return enroll_network(bounded, images, terms, kind=kind, making=making, progress=progress)


def _joined(seen: dict[str, dict[str, str]], images: GoodImages) -> dict[str, dict[str, str]]:
    """Add the images of a category to those that a borrowed network has seen."""
    ours = seen.get(images.category, {})
    still_learned = {sha: role for sha, role in ours.items() if role == LEARNED}  # whatever its role in this category
    return {**seen, images.category: {**ours, **provenance([images])[images.category], **still_learned}}


def enroll_network(
    network: BoundedNetwork,
    images: GoodImages,
    terms: Terms,
    *,
    kind: Reference | None,
    making: Making,
    progress: Progress = silent,
) -> Detector:
    """Make a detector with a trained network of ours, without training.

    Args:
        network: trained on whatever it was.
        images: good images of the category.
        terms: what is asked.
        kind: where embeddings are compared; None: chosen by a look at the images.
        making: how the network came about.
        progress: told after every image.

    Raises:
        DatasetError, ImageError: as for `fit`.
    """
    seen = survey(images.learned, progress)
    kind = kind or seen.reference
    preparation = seen.preparation(kind, is_trained_on=False)
    return nearest_detector(
        network,
        PreparedImages(images.learned, preparation, progress),
        images,
        terms,
        kind=kind,
        preparation=preparation,
        notes=[seen.reasons(kind), *seen.remarks(preparation)],
        making=making,
        progress=progress,
    )


def scales_for(side: int) -> dict[int, int]:
    """Return the paper's scales that are no larger than the size at which images are inspected.

    Raises:
        SettingError: not one of the paper's scales.
    """
    if side not in PAPER_SCALES:
        raise SettingError(f"Side is {side}; expected one of {', '.join(map(str, PAPER_SCALES))} pixels.")
    return {scale: n_patches for scale, n_patches in PAPER_SCALES.items() if scale <= side}


def reference_kind(name: str) -> Reference | None:
    """Return the kind of reference set of that name; None for "auto".

    Raises:
        SettingError: there is none.
    """
    if name == _AUTO:
        return None
    try:
        return Reference(name)
    except ValueError:
        raise SettingError(f"Found reference {name!r}; expected one of {_AUTO}, {', '.join(Reference)}.") from None


def _training_time(minutes: float | None, steps: int | None) -> dict[str, Any]:
    """Return how long to train as `learning.training.train` takes it."""
    if minutes is not None and steps is not None:
        raise SettingError(f"Found {minutes} minutes and {steps} steps; expected one of the two.")
    if steps is not None:
        if steps < 1:
            raise SettingError(f"Found {steps} steps; expected at least 1.")
        return {"n_steps": steps}
    minutes = DEFAULT_MINUTES if minutes is None else minutes
    if not 0 < minutes < float("inf"):
        raise SettingError(f"Found {minutes} minutes of training; expected more than 0.")
    return {"minutes": minutes}


def _divide(
    good: Path | str | Sequence[Path], category: str, seed: int, half: bool, fewest: int
) -> tuple[GoodImages, dict[str, dict[str, str]]]:
    """Divide the good images, and record which is for what."""
    paths = _half_of(good, seed) if half else _paths(good)
    images = hold_out(paths, category or _category_name(good), seed)
    n_found = len(images.learned) + len(images.held_out)
    if n_found < fewest:
        raise DatasetError(
            f"Found {n_found} different good images; training needs at least {fewest}, and some 50 or more make a "
            "useful detector. With fewer, `enroll` makes one without training."
        )
    read_all(images.held_out)  # to fail now, not after training; those to learn from are read before training anyway
    return images, provenance([images])


def _paths(good: Path | str | Sequence[Path]) -> list[Path]:
    return read_good(Path(good)) if isinstance(good, (Path, str)) else [Path(path) for path in good]


def _half_of(good: Path | str | Sequence[Path], seed: int) -> list[Path]:
    if not isinstance(good, (Path, str)):
        raise SettingError("`half` divides the good images of a category folder; it was given a list of files.")
    samples = [sample for sample in read_category(Path(good)) if sample.is_good]
    return [sample.path for sample in split_good(samples, seed)[0]]


def _category_name(good: Path | str | Sequence[Path]) -> str:
    if isinstance(good, (Path, str)):
        return category_name(Path(good))
    return category_name(Path(good[0]).parent) if good else ""
