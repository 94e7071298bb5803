"""The demo: draws surfaces and defects, learns, inspects, judges, writes a report; no downloads, two minutes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from blemish.datasets import GOOD, read_category
from blemish.detection.detector import Detector
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.figures import MapRow, maps_figure
from blemish.evaluation.page import evaluation_section, write_evaluation
from blemish.images import read_image, read_mask, write_bytes, write_image, write_text
from blemish.learning.fit import GoodImages, build_detector, hold_out, prototype_kind, provenance, scales_for
from blemish.learning.training import TrainingSettings, train
from blemish.learning.triplets import PatchPyramid, TrainingImage
from blemish.progress import Progress, silent
from blemish.report.batch import inspect_batch
from blemish.report.page import Figure, Section, render_document
from blemish.results import FloatArray

SIDE: Final = 256  # pixels a side of every image
_N_TRAIN, _N_TEST, _N_PER_FLAW = 100, 20, 6  # images: good to learn from, good to judge, defective of each kind
_ALPHA: Final = 0.05  # the smallest that the 20 images held out of the 100 can promise
_EPOCHS, _BATCH_SIZE = 5, 64  # a minute or so; smaller batches than the paper's 256, so that it holds 150 steps


@dataclass(frozen=True)
class _Category:
    """A surface of the demo and the defects it gets."""

    name: str
    prototype: str  # by how the surface lies: see `learning.reference.Prototype`
    flaws: tuple[str, ...]


_CATEGORIES: Final = (
    _Category("brushed_metal", "category", ("scratch", "dent", "pit", "stain")),
    _Category("woven_fabric", "category", ("fibre", "dent", "stain", "crack")),
    _Category("cast_part", "location", ("crack", "dent", "stain", "missing_print")),
)


def run_demo(out: Path, seed: int = 0, progress: Progress = silent) -> Path:
    """Run the demo.

    Args:
        out: folder for ``images/``, ``models/``, ``inspection/``, ``evaluation/`` and ``report.html``.
        seed: of everything random.
        progress: told after every step.

    Returns:
        The page to open.

    Raises:
        OutputError: the folder cannot be written.
    """
    for category in _CATEGORIES:
        _draw_category(category, out / "images" / category.name, seed, progress)
    sections = []
    for name, detector in _learn(out / "images", seed, progress).items():
        folder = out / "images" / name
        detector.save(out / "models" / f"{name}.blemish")
        inspect_batch(detector, [folder / "test"], out / "inspection" / name, progress=progress)
        evaluation = evaluate(detector, folder, progress=progress)
        write_evaluation(evaluation, out / "evaluation" / name)
        gallery = _gallery(detector, folder)
        write_bytes(out / "evaluation" / name / "maps.png", gallery)
        figure = Figure(gallery, "The first test image of every kind, whatever the verdict.", f"anomaly maps of {name}")
        sections += [evaluation_section(evaluation), Section(f"{name}: where", figures=(figure,))]
    intro = (
        "Three surfaces, drawn by Blemish; one small network, trained from scratch on good images of all three; every "
        "verdict below is about images it has not seen. inspection/ holds a full report per surface."
    )
    write_text(out / "report.html", render_document("Blemish demo", sections, intro=intro))
    return out / "report.html"


def _draw_category(category: _Category, folder: Path, seed: int, progress: Progress) -> None:
    """Draw good images to learn from, good and defective ones to judge, and masks, laid out as MVTec AD is."""
    rng = np.random.default_rng([seed, *category.name.encode()])
    surface = SURFACES[category.name](rng)
    stage, total = f"drawing {category.name}", _N_TRAIN + _N_TEST + _N_PER_FLAW * len(category.flaws)
    places = [("train/good", i) for i in range(_N_TRAIN)] + [("test/good", i) for i in range(_N_TEST)]
    for done, (part, index) in enumerate(places, start=1):
        write_image(folder / part / f"{index:03}.png", draw_surface(surface, rng, SIDE, SIDE))
        progress(stage, done, total)
    for flaw in category.flaws:
        for index in range(_N_PER_FLAW):
            image, mask = FLAWS[flaw](draw_surface(surface, rng, SIDE, SIDE), rng)
            write_image(folder / "test" / flaw / f"{index:03}.png", image)
            write_image(folder / "ground_truth" / flaw / f"{index:03}_mask.png", mask)
            done += 1
            progress(stage, done, total)


def _learn(images_dir: Path, seed: int, progress: Progress) -> dict[str, Detector]:
    """Train one network on the good images of all surfaces, as the paper does, and make a detector for each."""
    goods: dict[str, GoodImages] = {}
    for category in _CATEGORIES:
        samples = read_category(images_dir / category.name)
        paths = [sample.path for sample in samples if sample.is_good and sample.split == "train"]
        goods[category.name] = hold_out(paths, category.name, seed)
    scales = scales_for(SIDE)
    images = [TrainingImage(path, good.category) for good in goods.values() for path in good.learned]
    settings = TrainingSettings(epochs=_EPOCHS, batch_size=_BATCH_SIZE, seed=seed)
    network, summary = train(PatchPyramid(images, scales, progress), settings, progress=progress)
    hashes = provenance(list(goods.values()))
    return {
        category.name: build_detector(
            network,
            goods[category.name],
            kind=prototype_kind(category.prototype),
            method="tayeh2020",
            side=SIDE,
            alpha=_ALPHA,
            training={**asdict(settings), "scales": scales, **asdict(summary)},
            hashes=hashes,
            progress=progress,
        )
        for category in _CATEGORIES
    }


def _gallery(detector: Detector, folder: Path) -> bytes:
    """Show a good image and one of every defect, with what the detector makes of them, as PNG."""
    first = {sample.defect_type: sample for sample in reversed(read_category(folder)) if sample.split == "test"}
    good = [sample.path for sample in read_category(folder) if sample.is_good and sample.split == "train"]
    mean_good: FloatArray = np.mean([read_image(path) for path in good], axis=0, dtype=np.float32)
    rows: list[MapRow] = []
    for name, sample in sorted(first.items(), key=lambda item: (item[0] != GOOD, item[0])):
        found = detector.inspect(sample.path)
        mask = read_mask(sample.mask_path) if sample.mask_path else None
        rows.append((found.image, mean_good, found.anomaly_map, mask, f"{name}: {found.verdict}"))
    return maps_figure(rows)
