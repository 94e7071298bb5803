"""The demo: draws surfaces and defects, learns, inspects, judges, writes a report; no downloads, two minutes."""

from __future__ import annotations

from dataclasses import dataclass
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
from blemish.learning.fit import fit
from blemish.progress import Progress, silent
from blemish.report.batch import inspect_batch
from blemish.report.page import Figure, Section, render_document
from blemish.results import FloatArray

SIDE: Final = 256  # pixels a side of every image
_N_TRAIN, _N_TEST, _N_PER_FLAW = 100, 20, 6  # images: good to learn from, good to judge, defective of each kind
_ALPHA: Final = 0.05  # the smallest that the 20 images held out of the 100 can promise
_STEPS: Final = 120  # half a minute a surface on two cores; a number, not minutes, so that the demo can be repeated


@dataclass(frozen=True)
class _Category:
    """A surface of the demo and the defects it gets."""

    name: str
    flaws: tuple[str, ...]


_CATEGORIES: Final = (
    _Category("brushed_metal", ("scratch", "dent", "pit", "stain")),
    _Category("woven_fabric", ("fibre", "dent", "stain", "crack")),
    _Category("cast_part", ("crack", "dent", "stain", "missing_print")),
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
    sections: list[Section] = []
    for category in _CATEGORIES:
        _draw_category(category, out / "images" / category.name, seed, progress)
        sections += _learn_and_judge(category.name, out, seed, progress)
    intro = (
        f"Three surfaces, drawn by Blemish; for each, a small network, trained for {_STEPS} steps on its "
        "good images; every verdict below is about images it has not seen. inspection/ holds a full report per surface."
    )
    write_text(out / "report.html", render_document("Blemish demo", sections, intro=intro))
    return out / "report.html"


def draw_part(folder: Path, seed: int = 0, progress: Progress = silent) -> list[Path]:
    """Draw one surface of the demo, laid out as MVTec AD is.

    Args:
        folder: for ``train/good``, ``test`` and ``ground_truth``; its last part becomes the category's name.
        seed: of everything random.
        progress: told after every image.

    Returns:
        The good images to learn from.

    Raises:
        OutputError: the folder cannot be written.
    """
    _draw_category(_CATEGORIES[0], folder, seed, progress)
    return sorted((folder / "train" / "good").iterdir())


def _draw_category(category: _Category, folder: Path, seed: int, progress: Progress) -> None:
    """Draw good images to learn from, good and defective ones to judge, and masks, laid out as MVTec AD is."""
    rng = np.random.default_rng([seed, *category.name.encode()])
    surface = SURFACES[category.name](rng)
    stage, total = f"{category.name}: drawing", _N_TRAIN + _N_TEST + _N_PER_FLAW * len(category.flaws)
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


def _learn_and_judge(name: str, out: Path, seed: int, progress: Progress) -> tuple[Section, Section]:
    """Learn a surface from its good images, inspect and judge its test images; return what the page says of it."""
    folder = out / "images" / name

    def tell(stage: str, done: int, total: int, note: str = "") -> None:
        progress(f"{name}: {stage}", done, total, note)

    detector = fit(folder, steps=_STEPS, alpha=_ALPHA, seed=seed, progress=tell)
    detector.save(out / "models" / f"{name}.blemish")
    inspect_batch(detector, [folder / "test"], out / "inspection" / name, progress=tell)
    evaluation = evaluate(detector, folder, progress=tell)
    write_evaluation(evaluation, out / "evaluation" / name)
    gallery = _gallery(detector, folder)
    write_bytes(out / "evaluation" / name / "maps.png", gallery)
    figure = Figure(gallery, "The first test image of every kind, whatever the verdict.", f"anomaly maps of {name}")
    notes = tuple(detector.description.notes)
    return evaluation_section(evaluation), Section(f"{name}: where", paragraphs=notes, figures=(figure,))


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
