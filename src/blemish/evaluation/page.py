"""The page of one evaluation: results per defect type, every score beside the threshold, and both as data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from blemish.evaluation.evaluate import Evaluation
from blemish.evaluation.figures import scores_figure
from blemish.evaluation.tables import to_csv
from blemish.images import write_text
from blemish.report import page

SCORES_HEADERS = ("path", "category", "defect_type", "score", "max_distance", "mean_distance")


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``evaluation.html``, ``evaluation.json`` and ``scores.csv``; return the page.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows = [tuple(str(getattr(sample, name)) for name in SCORES_HEADERS) for sample in evaluation.samples]
    write_text(folder / "scores.csv", to_csv(page.Table(SCORES_HEADERS, tuple(rows))))
    write_text(folder / "evaluation.json", json.dumps(evaluation.to_dict(), indent=2))
    html = page.render_document(f"Evaluation: {evaluation.category}", [evaluation_section(evaluation)])
    write_text(folder / "evaluation.html", html)
    return folder / "evaluation.html"


def evaluation_section(evaluation: Evaluation) -> page.Section:
    """Lay out one evaluation as a section of a page."""
    scores: dict[str, list[float]] = {}
    for sample in sorted(evaluation.samples, key=lambda sample: sample.defect_type != "good"):
        scores.setdefault(sample.defect_type, []).append(sample.score)
    table = replace(
        evaluation.table(),
        caption="Honest protocol: nothing is fitted to or chosen on these images. In brackets: 95% intervals.",
    )
    figure = page.Figure(
        scores_figure(scores, evaluation.threshold.value, evaluation.category),
        caption="The score of every test image; right of the dashed line it would be stopped.",
        alt="scatter of scores, one line per defect type",
    )
    return page.Section(
        heading=f"{evaluation.category} ({evaluation.method})",
        paragraphs=tuple(evaluation.sentences()),
        tables=(table,),
        figures=(figure,),
    )
