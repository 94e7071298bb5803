"""The experiment of the paper: both methods, several repeats, every category; training and scores, no judgement yet.

`score_everything` trains one network per method and repeat on the known categories, gives every category (the unknown
ones too) a prototype, and scores its test images with the same graph that inspection uses. Each finished category is a
JSON file, each training run a checkpoint, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from blemish.datasets import GOOD, Sample, content_hash, find_categories, read_category, split_good
from blemish.detection.decision import require_alpha
from blemish.detection.detector import Detector
from blemish.errors import DatasetError, OutputError, SettingError
from blemish.evaluation.protocols import ScoredSample
from blemish.images import prepare, read_image, read_mask, write_bytes
from blemish.learning.defects import DEFECTS
from blemish.learning.fit import (
    METHODS,
    GoodImages,
    build_detector,
    hold_out,
    prototype_kind,
    provenance,
    run_id,
    scales_for,
)
from blemish.learning.training import TrainingSettings, train
from blemish.learning.triplets import PatchPyramid, TrainingImage, cut_triplets, plan_epoch
from blemish.progress import Progress, silent
from blemish.results import FloatArray, Threshold

PROTOTYPE_IMAGES: Final = 100  # "a large amount of non-defective data" (sec. IV-E); more hardly move the mean
PICTURE_SIDE: Final = 256  # pixels a side of the pictures kept for the figures
_N_TRIPLETS_SHOWN: Final = 8


@dataclass(frozen=True)
class ReproductionSettings:
    """What is run; written beside the results, so that a folder is never continued with other settings."""

    known: tuple[str, ...]  # categories that train the networks
    unknown: tuple[str, ...]  # categories that only get a prototype
    repeats: int = 3  # as in the paper (sec. IV-E)
    epochs: int = 40  # as in the paper (sec. IV-D)
    side: int = 1024  # as in the paper (sec. IV-B)
    prototype: str = "location"  # or "category"; see `learning.reference.Prototype`
    alpha: float = 0.05  # false-alarm rate asked for at the operating point
    seed: int = 0  # repeat r runs with seed + r

    def __post_init__(self) -> None:
        if self.repeats < 1 or not self.known:
            raise SettingError(
                f"Found {self.repeats} repeats and {len(self.known)} known categories; expected at least one of each."
            )
        TrainingSettings(epochs=self.epochs, seed=self.seed)  # refuses what it cannot train with, before hours of work
        prototype_kind(self.prototype)
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
        DatasetError: a category is not there. OutputError: ``out`` holds the results of other settings.
    """
    folders = _folders(data, settings)
    _claim(out, settings, folders)
    results: list[CategoryScores] = []
    for repeat in range(settings.repeats):
        splits = {name: _split(folder, name, settings.seed + repeat) for name, folder in folders.items()}
        for method in METHODS:
            files = {name: out / "scores" / f"{method}-{repeat}-{name}.json" for name in folders}
            if not all(file.exists() for file in files.values()):
                _run(method, repeat, splits, settings, files, out, progress)
            results += [_read_scores(file) for file in files.values()]
    return results


def _folders(data: Path, settings: ReproductionSettings) -> dict[str, Path]:
    found = find_categories(data)
    wanted = (*settings.known, *settings.unknown)
    if missing := [name for name in wanted if name not in found]:
        raise DatasetError(
            f"{data} has no category {', '.join(missing)}; it has {', '.join(sorted(found))}. "
            "Name the categories to use with --known and --unknown."
        )
    return {name: found[name] for name in wanted}


def _claim(out: Path, settings: ReproductionSettings, folders: dict[str, Path]) -> None:
    """Make the folder ours, or see that it already is: same settings, same images."""
    images = [f"{s.defect_type} {content_hash(s.path)}" for folder in folders.values() for s in read_category(folder)]
    data = hashlib.sha256("\n".join(images).encode()).hexdigest()
    file, text = out / "settings.json", json.dumps({**asdict(settings), "data_sha256": data}, indent=2)
    if file.exists() and json.loads(file.read_text()) != json.loads(text):
        raise OutputError(
            f"{out} holds results of other settings or images ({file}). Write to another folder, or delete it."
        )
    write_bytes(file, text.encode())


@dataclass(frozen=True)
class _Split:
    """One category in one repeat: half of the good images to learn from, the rest to be judged."""

    good: GoodImages
    test: tuple[Sample, ...]


def _split(folder: Path, category: str, seed: int) -> _Split:
    samples = read_category(folder)
    first, second = split_good([sample for sample in samples if sample.is_good], seed)
    defective = [sample for sample in samples if not sample.is_good]
    return _Split(hold_out([sample.path for sample in first], category, seed), (*second, *defective))


def _run(
    method: str,
    repeat: int,
    splits: dict[str, _Split],
    settings: ReproductionSettings,
    files: dict[str, Path],
    out: Path,
    progress: Progress,
) -> None:
    """Train one network and score every category with it."""
    known = [splits[name].good for name in settings.known]
    images = [TrainingImage(path, part.category) for part in known for path in part.learned]
    scales = scales_for(settings.side)
    title = f"{method}, repeat {repeat + 1} of {settings.repeats}"

    def told(stage: str, done: int, total: int, note: str = "") -> None:
        progress(f"{title}: {stage}", done, total, note)

    pyramid = PatchPyramid(images, scales, told)
    training_settings = TrainingSettings(epochs=settings.epochs, defect=METHODS[method], seed=settings.seed + repeat)
    if repeat == 0:
        _keep_triplets(pyramid, training_settings, out / "pictures" / f"triplets-{method}.npz")
    hashes = provenance(known)
    network, summary = train(
        pyramid,
        training_settings,
        run_id=run_id(hashes),
        checkpoint_path=out / "checkpoints" / f"{method}-{repeat}.checkpoint",
        progress=told,
    )
    if summary.interrupted:
        raise KeyboardInterrupt
    for name, file in files.items():
        if file.exists():
            continue
        good = splits[name].good
        detector = build_detector(
            network,
            GoodImages(name, good.learned[:PROTOTYPE_IMAGES], good.held_out),
            kind=prototype_kind(settings.prototype),
            method=method,
            side=settings.side,
            alpha=settings.alpha,
            training={**asdict(training_settings), **asdict(summary)},
            hashes=hashes,
            progress=lambda stage, done, total, note="", name=name: told(f"{name}, {stage}", done, total, note),
        )
        if repeat == 0:
            _keep_maps(detector, splits[name], out / "pictures" / f"maps-{method}-{name}.npz")
        result = CategoryScores(
            category=name,
            method=method,
            repeat=repeat,
            known=name in settings.known,
            threshold=detector.threshold,
            graph_difference=detector.description.graph_difference,
            training=detector.description.training,
            n_prototype=min(len(good.learned), PROTOTYPE_IMAGES),
            samples=_score(detector, splits[name].test, f"{name}, scoring", told),
        )
        write_bytes(file, json.dumps(asdict(result), indent=1).encode())


def _score(detector: Detector, test: Sequence[Sample], stage: str, progress: Progress) -> tuple[ScoredSample, ...]:
    scored = []
    for done, sample in enumerate(test, start=1):
        found = detector.inspect(sample.path)
        place = f"{sample.category}/{sample.split}/{sample.defect_type}/{sample.path.name}"
        scored.append(ScoredSample(place, sample.category, sample.defect_type, found.max_distance, found.mean_distance))
        progress(stage, done, len(test))
    return tuple(scored)


def _keep_triplets(pyramid: PatchPyramid, settings: TrainingSettings, file: Path) -> None:
    """Keep a few of the triplets that training will see, for Figure 4."""
    plan = plan_epoch(pyramid.categories, pyramid.scales, settings.seed, 0)
    rng = np.random.default_rng([settings.seed, 0, 0])
    triplets = cut_triplets(pyramid, plan, slice(_N_TRIPLETS_SHOWN), DEFECTS[settings.defect], rng)
    _write_arrays(file, dict(zip(("anchors", "positives", "negatives"), triplets, strict=True)))


def _keep_maps(detector: Detector, split: _Split, file: Path) -> None:
    """Keep image, map and mask of the first good test image and the first of every defect type, for Figure 1."""
    first_of_type = {sample.defect_type: sample for sample in reversed(split.test)}
    prototype = np.mean([_small(prepare(read_image(path), 1024, 1024)) for path in split.good.learned[:20]], axis=0)
    arrays: dict[str, FloatArray] = {"prototype": prototype.astype(np.float32)}
    for defect_type, sample in sorted(first_of_type.items(), key=lambda item: (item[0] != GOOD, item[0])):
        found = detector.inspect(sample.path)
        arrays[f"{defect_type}/image"] = _small(found.image)
        arrays[f"{defect_type}/map"] = _small(found.anomaly_map)
        if sample.mask_path is not None:
            arrays[f"{defect_type}/mask"] = _small(read_mask(sample.mask_path).astype(np.float32))
    _write_arrays(file, arrays)


def _small(image: FloatArray) -> FloatArray:
    """Shrink a picture to at most `PICTURE_SIDE` pixels a side, in proportion."""
    height, width = image.shape
    scale = min(PICTURE_SIDE / max(height, width), 1)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def _write_arrays(file: Path, arrays: dict[str, FloatArray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(file, buffer.getvalue())


def read_arrays(file: Path) -> dict[str, FloatArray]:
    """Read the pictures that the experiment kept for the figures."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read_scores(file: Path) -> CategoryScores:
    values = json.loads(file.read_text(encoding="utf-8"))
    values["threshold"] = Threshold(**values["threshold"])
    values["samples"] = tuple(ScoredSample(**sample) for sample in values["samples"])
    return CategoryScores(**values)
