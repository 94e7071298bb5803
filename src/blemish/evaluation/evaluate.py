"""Judge a detector on images it has not seen; nothing is fitted to them, nothing is chosen on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blemish.datasets import GOOD, Sample, content_hash, read_category
from blemish.detection.decision import promise
from blemish.detection.detector import Detector
from blemish.errors import DatasetError
from blemish.evaluation.intervals import Interval, auroc_interval, share_interval
from blemish.evaluation.metrics import PixelTally, average_precision, f1_max
from blemish.evaluation.protocols import ALL, ScoredSample, honest_protocol, scored_sample
from blemish.images import read_mask_of
from blemish.progress import Progress, silent
from blemish.report.page import Table
from blemish.results import Threshold, Verdict

_Judged = tuple[ScoredSample, Verdict]


@dataclass(frozen=True)
class TypeResult:
    """How well one defect type, or all together, is told from good."""

    defect_type: str
    n_images: int
    auroc: float  # image-level, against all good test images
    auroc_interval: Interval
    average_precision: float  # against all good test images; guessing gives the share of the defective ones
    missed: int  # images called good at the threshold
    missed_interval: Interval  # of their share
    unsure: int  # images sent to a person; neither found nor missed


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found out."""

    category: str
    method: str
    threshold: Threshold
    n_good: int  # good test images: those the detector has not seen
    n_seen: int  # good images left out because the detector was made from them
    n_labelled: int  # defective images left out because it learned from them or they helped to choose its threshold
    n_copies: int  # unseen images left out because another one has the same content
    false_alarms: int  # good test images called defective
    false_alarm_interval: Interval  # of their share
    unsure: int  # good test images sent to a person; no false alarms
    f1_max: float  # F1 of the best limit for these very images, of all defect types together: an oracle
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
        headers = ["defect type", "images", "AUROC (95%)", "average precision", "missed (95%)"]
        rows = [
            [
                result.defect_type,
                str(result.n_images),
                f"{result.auroc:.3f} ({result.auroc_interval})",
                f"{result.average_precision:.3f}",
                f"{result.missed} ({result.missed_interval.as_percent()})",
            ]
            for result in self.types
        ]
        if self.threshold.unsure is not None:
            headers.append("unsure")
            for row, result in zip(rows, self.types, strict=True):
                row.append(str(result.unsure))
        return Table(tuple(headers), tuple(tuple(row) for row in rows))

    def sentences(self) -> list[str]:
        """Say the rest in words."""
        share = f"{self.false_alarms / self.n_good:.1%}, 95% interval {self.false_alarm_interval.as_percent()}"
        said = [
            f"{self.false_alarms} of {self.n_good} good images ({share}) would be stopped. {promise(self.threshold)}",
            f"{self.n_seen} good images were left out, because the model was made from them.",
            f"With the best of all limits, F1 would be {self.f1_max:.3f} (F1-max). That limit is an oracle, chosen on "
            "the test images: an upper bound, not a promise.",
        ]
        if self.n_copies:
            said.insert(2, f"{self.n_copies} images were left out, because they are copies of others.")
        if self.n_labelled:
            said.insert(
                2,
                f"{self.n_labelled} defective images were left out, because the model was taught with them or they "
                "helped to set its limit.",
            )
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
    model file; so no image is ever judged that was learned from, whatever its name. Defective images that were learned
    from as such, or helped to choose the threshold, are left out too. Copies of an image count once.

    Args:
        detector: to be judged.
        category_dir: folder in MVTec AD's layout, or a CSV of one category.
        progress: told after every image.

    Returns:
        Image-level AUROC and average precision per defect type and of all, misses and false alarms at the detector's
        threshold, all but average precision with their 95% intervals, and pixel-level AUROC and AUPRO where there are
        masks.

    Raises:
        DatasetError: there are no unseen good or no unseen defective images, a defective image was taken for good, or
            one image is listed both as good and as defective.
        ImageError: an image cannot be read.
    """
    samples = read_category(Path(category_dir))
    contents = {sample.path: content_hash(sample.path) for sample in samples}
    unseen = _unseen(detector, samples, contents)
    test = _without_copies(unseen, contents)
    judged: list[_Judged] = []
    pixels, n_masks = PixelTally(), 0
    for done, sample in enumerate(test, start=1):
        found = detector.inspect(sample.path)
        judged.append((scored_sample(str(sample.path), sample, found), found.verdict))
        mask = read_mask_of(sample.path, found.image.shape, sample.mask_path) if sample.mask_path else None
        if mask is not None and mask.any():
            n_masks += 1
            pixels.add(found.anomaly_map, mask)
        elif sample.is_good:
            pixels.add(found.anomaly_map, found.image < 0)  # no defective pixel
        progress("evaluating", done, len(test))
    scored = tuple(sample for sample, _ in judged)
    n_good = _n_good(test)
    false_alarms = _count(judged, GOOD, Verdict.DEFECTIVE)
    return Evaluation(
        category=test[0].category,
        method=detector.description.method,
        threshold=detector.threshold,
        n_good=n_good,
        n_seen=_n_good(samples) - _n_good(unseen),
        n_labelled=(len(samples) - _n_good(samples)) - (len(unseen) - _n_good(unseen)),
        n_copies=len(unseen) - len(test),
        false_alarms=false_alarms,
        false_alarm_interval=share_interval(false_alarms, n_good),
        unsure=_count(judged, GOOD, Verdict.UNSURE),
        f1_max=f1_max(*_scores(judged, ALL)),
        types=tuple(_type_result(name, auroc, judged) for name, auroc in honest_protocol(scored).items()),
        pixel_auroc=pixels.auroc() if n_masks else None,
        aupro=pixels.aupro() if n_masks else None,
        n_masks=n_masks,
        samples=scored,
    )


def _unseen(detector: Detector, samples: Sequence[Sample], contents: Mapping[Path, str]) -> list[Sample]:
    """Leave out images the detector knows; refuse where it took a defective one for good, or too few are left."""
    about = detector.description
    unseen = [sample for sample in samples if contents[sample.path] not in about.seen]
    taken_for_good = about.seen - about.labelled - about.taught
    if leaked := [s.path for s in samples if not s.is_good and contents[s.path] in taken_for_good]:
        raise DatasetError(
            f"{len(leaked)} defective images, such as {leaked[0]}, were among the good ones this model was made from. "
            "It cannot be judged on them: take them out of the good images and fit anew."
        )
    n_good = _n_good(unseen)
    if n_good == 0 or n_good == len(unseen):
        raise DatasetError(
            f"Found {n_good} good images that the model has not seen, and {len(unseen) - n_good} defective ones "
            "that neither taught it nor set its limit; expected some of both. Put good images into test/good, or fit "
            "with --half to leave half of them for this."
        )
    return unseen


def _n_good(samples: Sequence[Sample]) -> int:
    return sum(sample.is_good for sample in samples)


def _without_copies(samples: Sequence[Sample], contents: Mapping[Path, str]) -> list[Sample]:
    """Keep the first of images with one content: copies would make the intervals narrower than they are."""
    firsts: dict[str, Sample] = {}
    for sample in samples:
        first = firsts.setdefault(contents[sample.path], sample)
        if first.is_good != sample.is_good:
            raise DatasetError(
                f"'{first.path}' is listed as {first.defect_type}, and '{sample.path}' as {sample.defect_type}, but "
                "both are the same image. Expected each image to be good or defective: remove one of them."
            )
    return list(firsts.values())


def _type_result(name: str, auroc: float, judged: Sequence[_Judged]) -> TypeResult:
    scores = _scores(judged, name)
    missed, n_images = _count(judged, name, Verdict.GOOD), len(scores[1])
    return TypeResult(
        name,
        n_images=n_images,
        auroc=auroc,
        auroc_interval=auroc_interval(*scores),
        average_precision=average_precision(*scores),
        missed=missed,
        missed_interval=share_interval(missed, n_images),
        unsure=_count(judged, name, Verdict.UNSURE),
    )


def _scores(judged: Sequence[_Judged], defect_type: str) -> tuple[list[float], list[float]]:
    """Return the scores of all good images, and those of the images with defects of a type."""
    good = [sample.score for sample, _ in judged if sample.defect_type == GOOD]
    return good, [sample.score for sample, _ in judged if _is_of(sample, defect_type)]


def _count(judged: Sequence[_Judged], defect_type: str, verdict: Verdict) -> int:
    return sum(found is verdict for sample, found in judged if _is_of(sample, defect_type))


def _is_of(sample: ScoredSample, defect_type: str) -> bool:
    return sample.defect_type != GOOD if defect_type == ALL else sample.defect_type == defect_type
