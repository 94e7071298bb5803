"""Judge a detector on images it has not seen; nothing is fitted to them, nothing is chosen on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import GOOD, Sample, content_hash, read_category
from blemish.detection.decision import promise
from blemish.detection.detector import Detector
from blemish.errors import DatasetError
from blemish.evaluation.metrics import PixelTally
from blemish.evaluation.protocols import ALL, ScoredSample, honest_protocol, scored_sample
from blemish.images import read_mask
from blemish.progress import Progress, silent
from blemish.report.page import Table
from blemish.results import Threshold, Verdict


@dataclass(frozen=True)
class TypeResult:
    """How well one defect type, or all together, is told from good."""

    defect_type: str
    n_images: int
    auroc: float  # image-level, against all good test images
    missed: int  # images called good at the threshold
    unsure: int  # images sent to a person; neither found nor missed


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found out."""

    category: str
    method: str
    threshold: Threshold
    n_good: int  # good test images: those the detector has not seen
    n_seen: int  # good images left out because the detector was made from them
    false_alarms: int  # good test images called defective
    unsure: int  # good test images sent to a person; no false alarms
    types: tuple[TypeResult, ...]  # one per defect type, then "all"
    pixel_auroc: float | None  # None without masks
    aupro: float | None  # area under the per-region overlap up to 30 % false positives; None without masks
    n_masks: int  # defective images with a mask that is not empty
    samples: tuple[ScoredSample, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready plain data."""
        return asdict(self)

    def table(self) -> Table:
        """Lay out the results per defect type."""
        headers: tuple[str, ...] = ("defect type", "images", "AUROC", "missed")
        rows = [(t.defect_type, str(t.n_images), f"{t.auroc:.3f}", f"{t.missed}") for t in self.types]
        if self.threshold.unsure is None:
            return Table(headers, tuple(rows))
        told = [(*row, f"{t.unsure}") for row, t in zip(rows, self.types, strict=True)]
        return Table((*headers, "unsure"), tuple(told))

    def sentences(self) -> list[str]:
        """Say the rest in words."""
        alarms = f"{self.false_alarms} of {self.n_good} good images ({self.false_alarms / self.n_good:.1%})"
        said = [
            f"{alarms} would be stopped. {promise(self.threshold)}",
            f"{self.n_seen} good images were left out, because the model was made from them.",
        ]
        if self.threshold.unsure is not None:
            asked = self.unsure + self.types[-1].unsure
            n_images = self.n_good + self.types[-1].n_images
            said.append(
                f"{asked} of {n_images} images ({asked / n_images:.1%}) would be sent to a person: {self.unsure} good, "
                f"{self.types[-1].unsure} defective. They count neither as false alarms nor as missed."
            )
        if self.pixel_auroc is not None:
            said.append(f"Pixel-level AUROC {self.pixel_auroc:.3f}, AUPRO {self.aupro:.3f} ({self.n_masks} masks).")
        return said


def evaluate(detector: Detector, category_dir: Path | str, *, progress: Progress = silent) -> Evaluation:
    """Judge a detector on the test images of a category, by the honest protocol.

    Good test images are all good images of the folder that the detector was not made from: ``test/good``, and what a
    ``fit`` with ``half`` left over of ``train/good``. Which ones it was made from is known by their content, from the
    model file; so no image is ever judged that was learned from, whatever its name.

    Args:
        detector: to be judged.
        category_dir: folder in MVTec AD's layout, or a CSV of one category.
        progress: told after every image.

    Returns:
        Image-level AUROC per defect type and of all, misses and false alarms at the detector's threshold, and
        pixel-level AUROC and AUPRO where there are masks.

    Raises:
        DatasetError: there are no unseen good or no defective images, or a defective image was learned from.
        ImageError: an image cannot be read.
    """
    samples = read_category(Path(category_dir))
    unseen = _unseen(detector, samples)
    scored: list[ScoredSample] = []
    verdicts: list[Verdict] = []
    pixels, n_masks = PixelTally(), 0
    for done, sample in enumerate(unseen, start=1):
        found = detector.inspect(sample.path)
        scored.append(scored_sample(str(sample.path), sample, found))
        verdicts.append(found.verdict)
        mask = read_mask(sample.mask_path) if sample.mask_path else None
        if mask is not None and mask.any():
            n_masks += 1
            pixels.add(found.anomaly_map, mask)
        elif sample.is_good:
            pixels.add(found.anomaly_map, found.image < 0)  # no defective pixel
        progress("evaluating", done, len(unseen))
    aurocs = honest_protocol(scored)
    n_good = sum(sample.is_good for sample in unseen)
    return Evaluation(
        category=unseen[0].category,
        method=detector.description.method,
        threshold=detector.threshold,
        n_good=n_good,
        n_seen=sum(sample.is_good for sample in samples) - n_good,
        false_alarms=_count(unseen, verdicts, GOOD, Verdict.DEFECTIVE),
        unsure=_count(unseen, verdicts, GOOD, Verdict.UNSURE),
        types=tuple(
            TypeResult(
                name,
                n_images=sum(_count(unseen, verdicts, name, verdict) for verdict in Verdict),
                auroc=auroc,
                missed=_count(unseen, verdicts, name, Verdict.GOOD),
                unsure=_count(unseen, verdicts, name, Verdict.UNSURE),
            )
            for name, auroc in aurocs.items()
        ),
        pixel_auroc=pixels.auroc() if n_masks else None,
        aupro=pixels.aupro() if n_masks else None,
        n_masks=n_masks,
        samples=tuple(scored),
    )


def _unseen(detector: Detector, samples: Sequence[Sample]) -> list[Sample]:
    """Leave out good images the detector was made from; refuse where that is a defective one, or leaves too few."""
    seen = detector.description.seen
    unseen = [sample for sample in samples if content_hash(sample.path) not in seen]
    if leaked := [sample.path for sample in samples if not sample.is_good and sample not in unseen]:
        raise DatasetError(
            f"{len(leaked)} defective images, such as {leaked[0]}, were among the good ones this model was made from. "
            "It cannot be judged on them: take them out of the good images and fit anew."
        )
    n_good = sum(sample.is_good for sample in unseen)
    if n_good == 0 or n_good == len(unseen):
        raise DatasetError(
            f"Found {n_good} good images that the model has not seen, and {len(unseen) - n_good} defective ones; "
            "expected some of both. Put good images into test/good, or fit with --half to leave half of them for this."
        )
    return unseen


def _count(samples: Sequence[Sample], verdicts: Sequence[Verdict], defect_type: str, verdict: Verdict) -> int:
    def is_meant(sample: Sample) -> bool:
        return not sample.is_good if defect_type == ALL else sample.defect_type == defect_type

    return sum(is_meant(sample) and found is verdict for sample, found in zip(samples, verdicts, strict=True))
