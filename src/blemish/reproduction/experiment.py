"""The experiment of the paper: both methods, several repeats, every category; training and scores, no judgement yet.

`score_everything` trains one network per method and repeat on the known categories, gives every category (the unknown
ones too) a prototype, and scores its test images with the same graph that inspection uses. Each finished category is a
JSON file, each training run a checkpoint, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from blemish.datasets import GOOD, Sample, content_hash, find_categories, read_category, split_good
from blemish.detection.decision import require_alpha
from blemish.detection.detector import Detector
from blemish.errors import DatasetError, OutputError, SettingError
from blemish.evaluation.paper import paper_defect_type
from blemish.evaluation.protocols import ALL, ScoredSample, scored_sample
from blemish.images import read_image, read_mask, resize, write_bytes, write_text
from blemish.learning.assembly import GoodImages, Making, Terms, hold_out, prototype_detector, provenance, run_id
from blemish.learning.defects import DEFECTS
from blemish.learning.fit import PAPER_METHODS, reference_kind, scales_for
from blemish.learning.network import TripletNetwork
from blemish.learning.reference import Reference
from blemish.learning.training import TrainingSummary, train
from blemish.learning.triplets import (
    PatchPyramid,
    PatchSettings,
    PatchTriplets,
    TrainingImage,
    cut_triplets,
    plan_epoch,
)
from blemish.progress import Progress, silent
from blemish.report.overlay import shrink
from blemish.results import FloatArray, Threshold
from blemish.strips import read_all

PROTOTYPE_IMAGES: Final = 100  # "a large amount of non-defective data" (sec. IV-E); that these are enough is assumed
PICTURE_SIDE: Final = 256  # pixels a side of the pictures kept for the figures
_N_TRIPLETS_SHOWN: Final = 8
_N_AVERAGED: Final = 20  # good images behind the mean that Figure 1 shows
_MIN_GOOD: Final = 4  # half to learn from, of which one sets the threshold; half to judge


@dataclass(frozen=True)
class ReproductionSettings:
    """What is run; written beside the results, so that a folder is never continued with other settings."""

    known: tuple[str, ...]  # categories that train the networks
    unknown: tuple[str, ...]  # categories that only get a prototype
    repeats: int = 3  # as in the paper (sec. IV-E)
    epochs: int = 40  # as in the paper (sec. IV-D)
    side: int = 1024  # as in the paper (sec. IV-B)
    reference: str = "location"  # or "category"; see `learning.reference.Reference`
    alpha: float = 0.05  # false-alarm rate asked for at the operating point
    seed: int = 0  # repeat r runs with seed + r

    def __post_init__(self) -> None:
        if self.repeats < 1 or not self.known:
            raise SettingError(
                f"Found {self.repeats} repeats and {len(self.known)} known categories; expected at least one of each."
            )
        PatchSettings(epochs=self.epochs, seed=self.seed)  # refuses what it cannot train with, before hours of work
        if reference_kind(self.reference) is None:
            raise SettingError(
                f"Found reference {self.reference!r}; expected one of {', '.join(Reference)}: one for all categories."
            )
        scales_for(self.side)
        require_alpha(self.alpha)
        if both := set(self.known) & set(self.unknown):
            raise SettingError(f"{', '.join(sorted(both))} cannot be both known and unknown.")


@dataclass(frozen=True)
class CategoryScores:
    """The scores of one category by one method in one repeat."""

    category: str
    method: str
    repeat: int
    known: bool
    threshold: Threshold  # set on held-out good images of the training half, for the honest protocol
    graph_difference: float  # between graph and PyTorch
    training: dict[str, Any]
    n_prototype: int  # good images behind the prototype
    samples: tuple[ScoredSample, ...]  # every test image


def score_everything(
    data: Path, settings: ReproductionSettings, out: Path, progress: Progress = silent
) -> list[CategoryScores]:
    """Train both methods and score every test image, taking up whatever an earlier call has finished.

    Args:
        data: folder that holds the categories in MVTec AD's layout.
        settings: what is run.
        out: folder of the results; scores go to ``out/scores``, pictures for the figures to ``out/pictures``.
        progress: told after every step.

    Raises:
        DatasetError: a category is not there, or cannot be judged. ImageError: an image cannot be read.
        OutputError: ``out`` holds the results of other settings or images. All of these before the first training.
    """
    categories = _read_categories(data, settings)
    _claim(out, settings, categories, progress)
    results: list[CategoryScores] = []
    for repeat in range(settings.repeats):
        splits = {name: _split(samples, name, settings.seed + repeat) for name, samples in categories.items()}
        for method in PAPER_METHODS:
            run = _Run(method, repeat, splits, settings, out, progress)
            if not all(run.scores_path(name).exists() for name in categories):
                _finish(run)
            results += [_read_scores(run.scores_path(name)) for name in categories]
    return results


def _read_categories(data: Path, settings: ReproductionSettings) -> dict[str, list[Sample]]:
    """List the images of the categories, and refuse one that could not be judged when all training is done."""
    found = find_categories(data)
    wanted = (*settings.known, *settings.unknown)
    if missing := [name for name in wanted if name not in found]:
        raise DatasetError(
            f"{data} has no category {', '.join(missing)}; it has {', '.join(sorted(found))}. "
            "Name the categories to use with --known and --unknown."
        )
    categories = {name: read_category(found[name]) for name in wanted}
    for name, samples in categories.items():
        n_good = sum(sample.is_good for sample in samples)
        grouped = {paper_defect_type(name, sample.defect_type) for sample in samples if not sample.is_good}
        types = sorted(defect_type for defect_type in grouped if defect_type is not None)
        if n_good < _MIN_GOOD or not types or ALL in types:
            raise DatasetError(
                f"{found[name]} has {n_good} good images and these defect types: {', '.join(types) or 'none'}. "
                f"Expected {_MIN_GOOD} good ones or more and a defect type that the paper counts, none named {ALL!r}."
            )
    return categories


def _claim(out: Path, settings: ReproductionSettings, categories: dict[str, list[Sample]], progress: Progress) -> None:
    """Make the folder ours when all images can be read, or see that it already is: same settings, same images."""
    samples = [sample for part in categories.values() for sample in part]
    contents = "\n".join(f"{sample.defect_type} {content_hash(sample.path)}" for sample in samples)
    values = {**asdict(settings), "data_sha256": hashlib.sha256(contents.encode()).hexdigest()}
    text = json.dumps(values, indent=2)
    file = out / "settings.json"
    if not file.exists():
        masks = [sample.mask_path for sample in samples if sample.mask_path is not None]
        paths = [*(sample.path for sample in samples), *masks]
        read_all(paths, lambda index, image: progress("checking images", index + 1, len(paths)))
        write_text(file, text)
    elif _read_json(file) != json.loads(text):
        raise OutputError(
            f"{out} holds results of other settings or images ({file}). Write to another folder, or delete it."
        )


@dataclass(frozen=True)
class _Split:
    """One category in one repeat: half of the good images to learn from, the rest to be judged."""

    good: GoodImages
    test: tuple[Sample, ...]


def _split(samples: Sequence[Sample], category: str, seed: int) -> _Split:
    first, second = split_good([sample for sample in samples if sample.is_good], seed)
    defective = [sample for sample in samples if not sample.is_good]
    return _Split(hold_out([sample.path for sample in first], category, seed), (*second, *defective))


@dataclass(frozen=True)
class _Run:
    """One method in one repeat: one network, trained on the known categories, that judges all of them."""

    method: str
    repeat: int
    splits: dict[str, _Split]
    settings: ReproductionSettings
    out: Path
    progress: Progress

    @property
    def training(self) -> PatchSettings:
        """How its network is trained."""
        seed = self.settings.seed + self.repeat
        return PatchSettings(epochs=self.settings.epochs, defect=PAPER_METHODS[self.method], seed=seed)

    def scores_path(self, category: str) -> Path:
        """Where the scores of a category go."""
        return self.out / "scores" / f"{self.method}-{self.repeat}-{category}.json"

    def picture_path(self, name: str) -> Path:
        """Where pictures for a figure go."""
        return self.out / "pictures" / f"{name}.npz"

    def tell(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Tell the listener of progress which run this is about."""
        title = f"{self.method}, repeat {self.repeat + 1} of {self.settings.repeats}"
        self.progress(f"{title}: {stage}", done, total, note)


def _finish(run: _Run) -> None:
    """Train the network of a run, or take it from its checkpoint, and score the categories that are not yet scored."""
    hashes = provenance([run.splits[name].good for name in run.settings.known])
    network, summary = _train(run, hashes)
    for name in run.splits:
        if not run.scores_path(name).exists():
            scores = _score_category(run, network, summary, hashes, name)
            write_text(run.scores_path(name), json.dumps(asdict(scores), indent=1))


def _train(run: _Run, hashes: dict[str, dict[str, str]]) -> tuple[TripletNetwork, TrainingSummary]:
    known = [run.splits[name].good for name in run.settings.known]
    images = [TrainingImage(path, part.category) for part in known for path in part.learned]
    pyramid = PatchPyramid(images, scales_for(run.settings.side), run.tell)
    if run.repeat == 0:
        _keep_triplets(pyramid, run.training, run.picture_path(f"triplets-{run.method}"))
    learner = PatchTriplets(pyramid, run.training)
    summary = train(
        learner,
        n_steps=learner.n_steps,
        run_id=run_id(hashes),
        checkpoint_path=run.out / "checkpoints" / f"{run.method}-{run.repeat}.checkpoint",
        progress=run.tell,
    )
    if summary.interrupted:
        raise KeyboardInterrupt
    return learner.network, summary


def _score_category(
    run: _Run, network: TripletNetwork, summary: TrainingSummary, hashes: dict[str, dict[str, str]], name: str
) -> CategoryScores:
    """Make the detector of one category and score its test images."""
    split, settings = run.splits[name], run.settings
    learned = split.good.learned[:PROTOTYPE_IMAGES]
    detector = prototype_detector(
        network,
        GoodImages(name, learned, split.good.held_out),
        Terms(settings.alpha),
        kind=Reference(settings.reference),
        side=settings.side,
        making=Making(run.method, {**asdict(run.training), **asdict(summary)}, hashes),
        progress=lambda stage, done, total, note="": run.tell(f"{name}, {stage}", done, total, note),
    )
    if run.repeat == 0:
        _keep_maps(detector, split, run.picture_path(f"maps-{run.method}-{name}"))
    return CategoryScores(
        category=name,
        method=run.method,
        repeat=run.repeat,
        known=name in settings.known,
        threshold=detector.threshold,
        graph_difference=detector.description.graph_difference,
        training=detector.description.training,
        n_prototype=len(learned),
        samples=_score(detector, split.test, lambda done, total: run.tell(f"{name}, scoring", done, total)),
    )


def _score(detector: Detector, test: Sequence[Sample], tell: Callable[[int, int], None]) -> tuple[ScoredSample, ...]:
    scored = []
    for done, sample in enumerate(test, start=1):
        place = f"{sample.category}/{sample.split}/{sample.defect_type}/{sample.path.name}"
        scored.append(scored_sample(place, sample, detector.inspect(sample.path)))
        tell(done, len(test))
    return tuple(scored)


def _keep_triplets(pyramid: PatchPyramid, settings: PatchSettings, file: Path) -> None:
    """Keep a few of the triplets that training will see, for Figure 4."""
    plan = plan_epoch(pyramid.categories, pyramid.scales, settings.seed, 0)
    rng = np.random.default_rng([settings.seed, 0, 0])
    triplets = cut_triplets(pyramid, plan, slice(_N_TRIPLETS_SHOWN), DEFECTS[settings.defect], rng)
    _write_arrays(file, dict(zip(("anchors", "positives", "negatives"), triplets, strict=True)))


def _keep_maps(detector: Detector, split: _Split, file: Path) -> None:
    """Keep image, map and mask of the first good test image and the first of every defect type, for Figure 1."""
    first_of_type = {sample.defect_type: sample for sample in reversed(split.test)}
    learned = [shrink(read_image(path), PICTURE_SIDE) for path in split.good.learned[:_N_AVERAGED]]
    same_size = [resize(picture, *learned[0].shape) for picture in learned]
    arrays: dict[str, FloatArray] = {"mean of good": np.mean(same_size, axis=0, dtype=np.float32)}
    for defect_type, sample in sorted(first_of_type.items(), key=lambda item: (item[0] != GOOD, item[0])):
        found = detector.inspect(sample.path)
        arrays[f"{defect_type}/image"] = shrink(found.image, PICTURE_SIDE)
        arrays[f"{defect_type}/map"] = shrink(found.anomaly_map, PICTURE_SIDE)
        if sample.mask_path is not None:
            arrays[f"{defect_type}/mask"] = shrink(read_mask(sample.mask_path).astype(np.float32), PICTURE_SIDE)
    _write_arrays(file, arrays)


def _write_arrays(file: Path, arrays: dict[str, FloatArray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(file, buffer.getvalue())


def read_arrays(file: Path) -> dict[str, FloatArray]:
    """Read the pictures that the experiment kept for the figures.

    Raises:
        OutputError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # whatever a damaged file makes numpy raise
        raise _damaged(file) from error


def _read_scores(file: Path) -> CategoryScores:
    values = _read_json(file)
    try:
        values["threshold"] = Threshold(**values["threshold"])
        values["samples"] = tuple(ScoredSample(**sample) for sample in values["samples"])
        return CategoryScores(**values)
    except (KeyError, TypeError) as error:
        raise _damaged(file) from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> OutputError:
    return OutputError(f"{file} of an earlier call cannot be read. Delete it, and it will be made again.")
