"""Compare two detectors on the same images, such as before and after a new `fit`: verdicts, ranks, and AUROC.

Images that one of the two was made from are left out: it would look better than it is. Where the images are labelled,
the difference of the AUROCs has its paired interval, so that chance is not taken for progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from blemish.datasets import GOOD, Sample, content_hash, list_images, read_category, read_csv
from blemish.detection.detector import Detector
from blemish.errors import DatasetError
from blemish.evaluation.intervals import Interval, auroc_difference_interval, auroc_interval, share_interval
from blemish.evaluation.metrics import image_auroc
from blemish.progress import Progress, silent
from blemish.report.page import Section, Table, render_document
from blemish.results import Verdict
from blemish.strips import GreyImage

_UNLABELLED = ""  # defect type of an image of which nothing is known


@dataclass(frozen=True)
class ComparedImage:
    """What the two say about one image; the first detector first."""

    path: str
    defect_type: str  # "good", the name of a defect type, or empty where nothing is known
    verdicts: tuple[Verdict, Verdict]
    scores: tuple[float, float]  # not on one scale
    ranks: tuple[int, int]  # 1 = most anomalous of all images


@dataclass(frozen=True)
class LabelledResult:
    """How well one of the two tells defective from good images."""

    auroc: float
    auroc_interval: Interval
    false_alarms: int
    missed: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` found out."""

    names: tuple[str, str]
    images: tuple[ComparedImage, ...]
    n_left_out: int  # seen by one of the two, or copies
    rank_correlation: float | None  # Spearman's: 1 when both order all images alike; None when one orders none
    labelled: tuple[LabelledResult, LabelledResult] | None  # None without good or without defective images
    auroc_difference_interval: Interval | None  # of the first less the second; None as above

    @property
    def differing(self) -> tuple[ComparedImage, ...]:
        """The images with different verdicts, those whose ranks lie farthest apart first."""
        differing = [image for image in self.images if image.verdicts[0] is not image.verdicts[1]]
        return tuple(sorted(differing, key=lambda image: -abs(image.ranks[0] - image.ranks[1])))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready plain data."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Lay out the agreement, the quality where there are labels, and the images that are judged differently."""
        first, second = self.names
        pairs = [image.verdicts for image in self.images]
        kinds = [kind for kind in Verdict if kind is not Verdict.UNSURE or any(kind in pair for pair in pairs)]
        agreement = [(f"{a} by {first}", *(str(pairs.count((a, b))) for b in kinds)) for a in kinds]
        headers: tuple[str, ...] = ("", *(f"{kind} by {second}" for kind in kinds))
        tables = [Table(headers, tuple(agreement), caption="How far the verdicts agree.")]
        if self.labelled is not None:
            tables.append(self._quality(self.labelled))
        if self.differing:
            images = [
                (image.path, image.defect_type, *image.verdicts, *(str(rank) for rank in image.ranks))
                for image in self.differing
            ]
            headers = "image", "label", first, second, f"rank by {first}", f"rank by {second}"
            tables.append(
                Table(
                    headers, tuple(images), caption="Images that are judged differently; rank 1 is the most anomalous."
                )
            )
        return tables

    def _quality(self, results: tuple[LabelledResult, LabelledResult]) -> Table:
        n_good = sum(image.defect_type == GOOD for image in self.images)
        n_defective = len(self.images) - n_good
        rows = [
            (
                name,
                f"{result.auroc:.3f} ({result.auroc_interval})",
                f"{result.false_alarms} ({share_interval(result.false_alarms, n_good).as_percent()})",
                f"{result.missed} ({share_interval(result.missed, n_defective).as_percent()})",
            )
            for name, result in zip(self.names, results, strict=True)
        ]
        headers = "model", "AUROC (95%)", f"false alarms of {n_good} (95%)", f"missed of {n_defective} (95%)"
        return Table(headers, tuple(rows), caption="Against the labels, at each one's own limit.")

    def sentences(self) -> list[str]:
        """Say the rest in words."""
        n = len(self.images)
        ranks = (
            ""
            if self.rank_correlation is None
            else f", the ranks of the scores correlate by {self.rank_correlation:.3f}"
        )
        said = [
            f"The verdicts agree on {n - len(self.differing)} of {n} images{ranks}.",
            f"{self.n_left_out} images were left out: copies, or seen by one of the two when it was made.",
        ]
        if self.labelled is not None and self.auroc_difference_interval is not None:
            difference, interval = self.labelled[0].auroc - self.labelled[1].auroc, self.auroc_difference_interval
            verdict = "These images do not tell which of the two ranks better."
            if interval.low > 0 or interval.high < 0:
                verdict = f"{self.names[difference < 0]} ranks better."
            said.append(
                f"AUROC of {self.names[0]} less that of {self.names[1]}: {difference:+.3f} (paired 95% interval "
                f"{interval.low:+.3f} to {interval.high:+.3f}). {verdict}"
            )
        return said

    def page(self) -> str:
        """Write everything as one HTML page."""
        title = f"{self.names[0]} and {self.names[1]}"
        section = Section("The same images, two models", tuple(self.sentences()), tuple(self.tables()))
        return render_document(title, [section])


def compare(
    first: Detector,
    second: Detector,
    sources: Sequence[Path],
    *,
    names: tuple[str, str] = ("the first", "the second"),
    progress: Progress = silent,
) -> Comparison:
    """Inspect the same images with two detectors.

    Args:
        first, second: to be compared.
        sources: category folders in MVTec AD's layout and CSVs, whose labels are used; image files and other folders,
            whose images have none. Labels count only where all images have one.
        names: what to call the two in tables.
        progress: told after every image.

    Raises:
        DatasetError: there are no images that neither has seen.
        ImageError: an image cannot be read.
    """
    listed = [sample for source in sources for sample in _samples(source)]
    seen = first.description.seen | second.description.seen
    by_content: dict[str, Sample] = {}
    for sample in listed:
        by_content.setdefault(content_hash(sample.path), sample)
    samples = [sample for content, sample in by_content.items() if content not in seen]
    if not samples:
        raise DatasetError(
            f"Each of these {len(listed)} images was seen by one of the two models when it was made; expected some "
            "that neither has seen."
        )
    verdicts: list[tuple[Verdict, Verdict]] = []
    scores: list[tuple[float, float]] = []
    for done, sample in enumerate(samples, start=1):
        image = GreyImage.open(sample.path)
        found = first.inspect(image), second.inspect(image)
        verdicts.append((found[0].verdict, found[1].verdict))
        scores.append((found[0].score, found[1].score))
        progress("comparing", done, len(samples))

    columns = np.array(scores).T  # (2, N)
    ranks = rankdata(-columns, method="min", axis=1).astype(int).T.tolist()  # N pairs
    images = tuple(
        ComparedImage(str(sample.path), sample.defect_type, pair, both, (rank[0], rank[1]))
        for sample, pair, both, rank in zip(samples, verdicts, scores, ranks, strict=True)
    )
    kinds = {image.defect_type for image in images}
    has_labels = GOOD in kinds and len(kinds) > 1 and _UNLABELLED not in kinds
    difference = auroc_difference_interval(_parted(images, 0), _parted(images, 1)) if has_labels else None
    return Comparison(
        names=names,
        images=images,
        n_left_out=len(listed) - len(samples),
        rank_correlation=_rank_correlation(*columns),
        labelled=(_result(images, 0), _result(images, 1)) if has_labels else None,
        auroc_difference_interval=difference,
    )


def _samples(source: Path) -> list[Sample]:
    if source.suffix.lower() == ".csv" and source.is_file():
        return read_csv(source)
    if (source / "train" / GOOD).is_dir():
        return read_category(source)
    return [Sample(path, "", _UNLABELLED, "test") for path in list_images(source)]


def _parted(images: Sequence[ComparedImage], which: int) -> tuple[list[float], list[float]]:
    """Return the scores of the good and of the defective images by one of the two."""
    good = [image.scores[which] for image in images if image.defect_type == GOOD]
    return good, [image.scores[which] for image in images if image.defect_type != GOOD]


def _result(images: Sequence[ComparedImage], which: int) -> LabelledResult:
    scores = _parted(images, which)
    return LabelledResult(
        auroc=image_auroc(*scores),
        auroc_interval=auroc_interval(*scores),
        false_alarms=sum(i.defect_type == GOOD and i.verdicts[which] is Verdict.DEFECTIVE for i in images),
        missed=sum(i.defect_type != GOOD and i.verdicts[which] is Verdict.GOOD for i in images),
    )


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
