"""Proof, on the user's machine, that a model decides here as where it was made, whichever library runs its graph.

Each image is read and prepared here and goes through every installed engine. Where the model file holds the image's
score, because it is one of the good images that set the threshold, that is compared too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import content_hash
from blemish.detection.detector import Detector
from blemish.detection.engines import installed_engines
from blemish.detection.history import scores_are_current
from blemish.detection.model_file import Model
from blemish.detection.runtime import TOLERANCE
from blemish.progress import Progress, silent
from blemish.results import Verdict


@dataclass(frozen=True)
class Comparison:
    """What the engines make of one image."""

    path: Path
    scores: dict[str, float]  # by engine
    verdicts: dict[str, Verdict]  # by engine
    stored: float | None  # score in the model file; None: it has none of this image by this graph

    @property
    def difference(self) -> float:
        """Largest difference between the scores, the stored one among them; above 1 as a share of the score."""
        scores = [*self.scores.values(), *([] if self.stored is None else [self.stored])]
        return (max(scores) - min(scores)) / max(1.0, max(scores))

    @property
    def agrees(self) -> bool:
        """Say whether the scores differ by no more than ``TOLERANCE``."""
        return self.difference <= TOLERANCE

    @property
    def is_on_limit(self) -> bool:
        """Say whether scores agree and verdicts do not: the score is a limit, and its last digit decides.

        One good image always lies there, the one whose score became the threshold; one more on a lower limit.
        """
        return self.agrees and len(set(self.verdicts.values())) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready plain data."""
        return {**asdict(self), "path": str(self.path), "difference": self.difference, "agrees": self.agrees}


def verify(model: Model, images: Sequence[Path], *, progress: Progress = silent) -> list[Comparison]:
    """Compare what the engines that may run it here make of images, and what the model file says of them.

    Args:
        model: to be verified.
        images: files; those that set the threshold prove most.
        progress: told after each image.

    Raises:
        ImageError: an image cannot be read.
    """
    about = model.description
    stored = {**about.good_scores, **about.own_scores} if scores_are_current(about) else {}
    detectors = {name: Detector(model, runtime=name) for name in installed_engines(about.precision)}
    compared: list[Comparison] = []
    for path in images:
        found = {name: detector.inspect(path) for name, detector in detectors.items()}
        compared.append(
            Comparison(
                path=path,
                scores={name: each.score for name, each in found.items()},
                verdicts={name: each.verdict for name, each in found.items()},
                stored=stored.get(content_hash(path)),
            )
        )
        progress("comparing", len(compared), len(images))
    return compared
