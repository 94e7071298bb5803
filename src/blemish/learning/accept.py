"""Good parts that were stopped wrongly join the reference set: no training, and the limit stays as it is.

More good embeddings can only make distances smaller. So each held-out good image scores at most what it did, and so
does every good part to come: at most as many of them exceed the limit as before, whichever parts were accepted. The
accepted images have no part in setting it. The price is on the other side: a defect like something that was accepted
is missed from then on, which only defective images can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from blemish.datasets import by_content
from blemish.detection.detector import Detector
from blemish.detection.engines import INT8
from blemish.detection.evidence import Patches
from blemish.detection.former import digest, with_graph
from blemish.detection.history import changed
from blemish.detection.model_file import LEARNED, NEAREST, Description
from blemish.detection.preparation import picture
from blemish.detection.scoring import N_WORST
from blemish.detection.tiling import at_once
from blemish.detection.zones import from_text
from blemish.errors import ImageError, SettingError, TrainingError
from blemish.learning.assembly import MOST_CELLS_OF_ONE, MOST_REFERENCES, SMOOTHING, too_large
from blemish.learning.graph import DistanceModel, build_graph, check_graph, read_reference
from blemish.learning.network import our_network
from blemish.learning.pictures import patches_of
from blemish.learning.reference import embed, extended
from blemish.progress import Progress, silent
from blemish.results import FloatArray, Verdict
from blemish.strips import GreyImage, read_all

_N_CHECKED: Final = 2  # images on which graph and PyTorch are compared


def accept(
    detector: Detector,
    images: Sequence[Path | str],
    *,
    defective: Sequence[Path | str] = (),
    who: str = "",
    why: str = "",
    progress: Progress = silent,
) -> Detector:
    """Teach a detector good parts that it stopped wrongly, in seconds.

    Args:
        detector: of the method "nearest".
        images: files of these parts.
        defective: images of defective parts; none that is stopped now may be missed afterwards.
        who, why, progress: as for `Detector.calibrate`.

    Returns:
        A new detector with a larger reference set and the same threshold, whose promise still holds. `Detector.undo`
        takes it back.

    Raises:
        SettingError: another method, a network of 8-bit integers, no images, or a reference set that has no more room.
        ImageError: an image cannot be used, or is far larger than usual ones. ModelFileError: what is stored does not
        fit. TrainingError: defective images would be missed, or the graph does not score like PyTorch
        (`learning.graph.check_graph`).
    """
    about = detector.description
    if about.method != NEAREST:
        raise SettingError(
            f"The model was made by {about.method}, whose reference is one mean embedding. Expected one made by "
            "'nearest': this one can be enrolled anew, with these images among the good ones."
        )
    if about.precision == INT8:
        raise SettingError(
            "The model's network computes in 8-bit integers. Expected one in float32: undo what was done since "
            "`quantise`, and that (`blemish threshold --undo`, once for each), accept the images, and quantise anew."
        )
    different = by_content([Path(path) for path in images])
    if not different:
        raise SettingError("Found no images to accept; expected good parts that were stopped wrongly.")
    network, reference = our_network(detector.model.weights), read_reference(detector.model.graph)
    prepared, counted = _prepared(about, list(different.values()), progress)
    model = DistanceModel(network, reference, SMOOTHING, N_WORST).eval()
    checked = [at_once(image, about.preparation) for image in prepared[:_N_CHECKED]]
    check_graph(detector.model.graph, model, checked)  # that what is extended is what was stored
    embeddings = embed(network, prepared)
    whole, added = extended(reference, embeddings, counted, _usual_distance(about))
    grown = DistanceModel(network, whole, SMOOTHING, N_WORST).eval()
    graph = build_graph(grown)
    difference = max(about.graph_difference, check_graph(graph, grown, checked))
    old = replace(about, graph=digest(detector.model.graph))
    learned = _with_learned(about, different)
    new = replace(old, graph=digest(graph), graph_difference=difference, provenance=learned, own_scores={})
    model_file = with_graph(detector.model, changed(old, new, "accept", who=who, why=why), graph)
    if model_file.patches is not None:
        # An accept that was undone has left its places behind; the graph counts on from the reference set as it is.
        kept = Patches.from_bytes(model_file.patches).first(len(reference.vectors))
        patches = kept.joined(patches_of(added, embeddings, lambda index: picture(prepared[index])))
        model_file = replace(model_file, patches=patches.to_bytes())
    accepted = Detector(model_file, mm_per_pixel=detector.mm_per_pixel, runtime=detector.runtime)
    _refuse_if_missed(detector, accepted, defective, progress)
    return accepted


def _prepared(
    about: Description, paths: Sequence[Path], progress: Progress
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Prepare images, ``(1 or 3, H, W)`` each, and say which of their cells count."""
    ignored = np.zeros((1, 1), dtype=bool) if about.ignored is None else from_text(about.ignored)
    prepared: list[FloatArray] = []
    counted: list[FloatArray] = []

    def keep(index: int, source: GreyImage) -> None:
        image = about.preparation.prepared(source)
        # One size for all is that of usual images, and never too large.
        if about.preparation.height is None and math.prod(about.preparation.cells(*image.shape)) > MOST_CELLS_OF_ONE:
            raise ImageError(too_large(paths[index], source.shape, image.shape, MOST_CELLS_OF_ONE))
        cells = about.preparation.counted(ignored, *source.shape, image.pose)
        assert cells is not None, "a mask was given"
        prepared.append(image.all_pixels())
        counted.append(cells)
        progress("reading images", index + 1, len(paths))

    if len(paths) > MOST_REFERENCES:
        raise SettingError(
            f"Found {len(paths)} images to accept; expected at most {MOST_REFERENCES}. So many call for `blemish fit`."
        )
    read_all(paths, keep)
    return prepared, counted


def _usual_distance(about: Description) -> float:
    """Return how far the worst places of a usual good image lie: nearer than that, nothing need be added."""
    scores = list(about.good_scores.values())
    return float(np.median(scores)) if scores else about.threshold.value / 2


def _with_learned(about: Description, contents: Iterable[str]) -> dict[str, Any]:
    images = about.provenance["images"]
    noted = {**images.get(about.category, {}), **dict.fromkeys(contents, LEARNED)}
    return {**about.provenance, "images": {**images, about.category: noted}}


def _refuse_if_missed(before: Detector, after: Detector, defective: Sequence[Path | str], progress: Progress) -> None:
    missed = []
    for done, path in enumerate(defective, start=1):
        if before.inspect(path).verdict is not Verdict.GOOD and after.inspect(path).verdict is Verdict.GOOD:
            missed.append(str(path))
        progress("inspecting defective images", done, len(defective))
    if missed:
        raise TrainingError(
            f"{len(missed)} of {len(defective)} defective images are stopped now and would be missed: "
            f"{', '.join(missed)}. Nothing was changed. Is a part that you accept really good? Else leave out the "
            "accepted image that looks like these, or these defective ones if they may pass."
        )
