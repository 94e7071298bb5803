"""From good images to a Detector: `fit` trains a network for one category, `enroll` borrows one that is trained.

Both end in `build_detector`: prototype, graph, proof that the graph scores like PyTorch, threshold.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch

import blemish
from blemish.datasets import category_name, content_hash, read_category, read_good, split_good
from blemish.detection.decision import require_alpha
from blemish.detection.detector import Detector
from blemish.detection.model_file import HELD_OUT, LEARNED, Description, Model
from blemish.errors import DatasetError, SettingError
from blemish.images import prepare, read_all, read_image
from blemish.learning.graph import DistanceModel, build_graph, check_graph
from blemish.learning.network import PATCH_SIZE, STRIDE, TripletNetwork, network_from_arrays, network_to_arrays
from blemish.learning.reference import Prototype, mean_embedding
from blemish.learning.training import TrainingSettings, train
from blemish.learning.triplets import PAPER_SCALES, PatchPyramid, TrainingImage
from blemish.progress import Progress, silent
from blemish.results import Threshold

METHODS: Final = {"tayeh2020": "random_erasing", "staar2019": "gaussian_noise"}  # method -> what makes a negative
DEFAULT_ALPHA: Final = 0.01
_HELD_OUT: Final = 0.2  # share of the good images that set the threshold and are kept out of training
_N_CHECKED: Final = 2  # images on which graph and PyTorch are compared


@dataclass(frozen=True)
class GoodImages:
    """Good images of one category, divided by what they are for."""

    category: str
    learned: tuple[Path, ...]  # train the network and make the prototype
    held_out: tuple[Path, ...]  # set the threshold


def fit(
    good: Path | str | Sequence[Path],
    *,
    category: str = "",
    method: str = "tayeh2020",
    prototype: str = Prototype.LOCATION,
    side: int = 1024,
    epochs: int = 40,
    alpha: float = DEFAULT_ALPHA,
    seed: int = 0,
    half: bool = False,
    checkpoint_path: Path | None = None,
    progress: Progress = silent,
) -> Detector:
    """Learn what good looks like from good images of one category.

    Args:
        good: a folder of good images, a category folder in MVTec AD's layout, a CSV, or a list of files; at least 2.
        category: name kept in the model file; by default the folder's.
        method: "tayeh2020" (random erasing) or "staar2019" (Gaussian noise).
        prototype: "location" for parts that always lie the same way, "category" for textures.
        side: pixels a side to which images are scaled: 1024 (the paper's), 512, 256 or 128; half is 4 times as fast.
        epochs: passes over the images; 40 in the paper.
        alpha: accepted false-alarm rate; the threshold is set for it on a fifth of the images, kept out of training.
        seed: of everything random; the same seed gives the same weights on a CPU.
        half: learn from a random half of all good images of a category folder (or CSV), as in the paper (sec. III), and
            leave the other half for `evaluate`.
        checkpoint_path: where an unfinished run is kept and taken up again; None: nowhere.
        progress: told after every step.

    Returns:
        A detector with its threshold set. Ctrl-C during training keeps what has been learned so far.

    Raises:
        DatasetError: too few images, or a folder of defective ones. ImageError: images that cannot be read.
        SettingError: a setting out of range. TrainingError: see `learning.training.train`.
    """
    if method not in METHODS:
        raise SettingError(f"Found method {method!r}; expected one of {', '.join(METHODS)}.")
    defect, kind, scales = METHODS[method], prototype_kind(prototype), scales_for(side)
    settings = TrainingSettings(epochs=epochs, defect=defect, seed=seed)
    require_alpha(alpha)
    paths = _half_of(good, seed) if half else _paths(good)
    images = hold_out(paths, category or _category_name(good), seed)
    hashes = provenance([images])
    read_all(images.held_out)  # to fail now, not after training; those to learn from are read before training anyway
    pyramid = PatchPyramid([TrainingImage(path, images.category) for path in images.learned], scales, progress)
    network, summary = train(
        pyramid, settings, run_id=run_id(hashes), checkpoint_path=checkpoint_path, progress=progress
    )
    training = {**asdict(settings), "scales": scales, **asdict(summary)}
    return build_detector(
        network,
        images,
        kind=kind,
        method=method,
        side=side,
        alpha=alpha,
        training=training,
        hashes=hashes,
        progress=progress,
    )


def enroll(
    trained: Detector,
    good: Path | str | Sequence[Path],
    *,
    category: str = "",
    prototype: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    seed: int = 0,
    progress: Progress = silent,
) -> Detector:
    """Make a detector for a new category with the network of another one, without training.

    Args:
        trained: whose network is borrowed.
        good: as for `fit`.
        category, alpha, seed, progress: as for `fit`.
        prototype: as for `fit`; by default the kind that ``trained`` uses.

    Raises:
        DatasetError, ImageError, SettingError: as for `fit`. ModelFileError: the stored weights do not fit.

    Source: Tayeh et al. 2020, sec. III and IV-E: unknown categories only get a prototype.
    """
    about = trained.description
    require_alpha(alpha)
    seen = about.provenance["images"]
    images = hold_out(_paths(good), category or _category_name(good), seed, about.learned)
    ours = seen.get(images.category, {})
    still_learned = {sha: role for sha, role in ours.items() if role == LEARNED}  # whatever its role in this category
    hashes = {**seen, images.category: {**ours, **provenance([images])[images.category], **still_learned}}
    return build_detector(
        network_from_arrays(trained.model.weights),
        images,
        kind=prototype_kind(prototype or about.prototype),
        method=about.method,
        side=about.side,
        alpha=alpha,
        training=about.training,
        hashes=hashes,
        progress=progress,
    )


def build_detector(
    network: TripletNetwork,
    images: GoodImages,
    *,
    kind: Prototype,
    method: str,
    side: int,
    alpha: float,
    training: dict[str, Any],
    hashes: dict[str, dict[str, str]],
    progress: Progress = silent,
) -> Detector:
    """Join a trained network and good images of a category to a detector, checked and calibrated.

    Args:
        network: trained.
        images: whose prototype is made, and which set the threshold.
        kind, method, side, alpha: as for `fit`.
        training, hashes: how and on what the network was trained; kept in the model file.
        progress: told after every image.

    Raises:
        TrainingError: the graph does not score like PyTorch (`learning.graph.check_graph`).
    """
    prototype = mean_embedding(network, images.learned, side, kind, progress)
    model = DistanceModel(network, prototype).eval()
    graph = build_graph(model)
    checked = (prepare(read_image(path), side, side) for path in (*images.held_out, *images.learned)[:_N_CHECKED])
    description = Description(
        category=images.category,
        method=method,
        prototype=kind.value,
        side=side,
        patch_size=PATCH_SIZE,
        stride=STRIDE,
        threshold=Threshold(value=0.0, alpha=1.0, promised_alpha=1.0, n_images=0),
        graph_difference=check_graph(graph, model, checked),
        training=training,
        provenance={"images": hashes, "made": _made()},
        history=[],
    )
    uncalibrated = Detector(Model(description, graph, network_to_arrays(network)))
    calibrated = uncalibrated.calibrate(images.held_out, alpha=alpha, progress=progress)
    return Detector(replace(calibrated.model, description=replace(calibrated.description, history=[])))


def hold_out(paths: Sequence[Path], category: str, seed: int, learned: frozenset[str] = frozenset()) -> GoodImages:
    """Divide good images at random: a fifth, at least one, is kept out of training to set the threshold.

    Copies of an image count once, or a held-out image could be one that was learned from.

    Args:
        paths: good images.
        category: theirs.
        seed: of the draw.
        learned: content hashes of images that a borrowed network has learned from; others are held out first.

    Raises:
        DatasetError: fewer than two different images.
    """
    different: dict[str, Path] = {}
    for path in paths:
        different.setdefault(content_hash(path), path)
    is_learned = [content in learned for content in different]
    paths = list(different.values())
    if len(paths) < 2:
        raise DatasetError(
            f"Found {len(paths)} good image; expected at least 2 different ones, one to learn from and one to set the "
            "threshold. Some 50 or more make a useful detector."
        )
    drawn = np.random.default_rng(seed).permutation(len(paths)).tolist()
    order = sorted(drawn, key=lambda index: is_learned[index])  # stable: those learned from come last
    n_held_out = max(1, round(_HELD_OUT * len(paths)))
    first, rest = sorted(order[:n_held_out]), sorted(order[n_held_out:])
    return GoodImages(category, learned=tuple(paths[i] for i in rest), held_out=tuple(paths[i] for i in first))


def scales_for(side: int) -> dict[int, int]:
    """Return the paper's scales that are no larger than the size at which images are inspected.

    Raises:
        SettingError: not one of the paper's scales.
    """
    if side not in PAPER_SCALES:
        raise SettingError(f"Side is {side}; expected one of {', '.join(map(str, PAPER_SCALES))} pixels.")
    return {scale: n_patches for scale, n_patches in PAPER_SCALES.items() if scale <= side}


def prototype_kind(name: str) -> Prototype:
    """Return the kind of prototype of that name.

    Raises:
        SettingError: there is none.
    """
    try:
        return Prototype(name)
    except ValueError:
        raise SettingError(f"Found prototype {name!r}; expected one of {', '.join(Prototype)}.") from None


def provenance(images: Sequence[GoodImages]) -> dict[str, dict[str, str]]:
    """Record which images were used for what.

    Returns:
        Category -> {SHA-256 of the file: "learned" or "held out"}, in the order of the images.
    """
    return {
        part.category: {
            **{content_hash(path): HELD_OUT for path in part.held_out},
            **{content_hash(path): LEARNED for path in part.learned},
        }
        for part in images
    }


def run_id(hashes: dict[str, dict[str, str]]) -> str:
    """Name a training run by what its result depends on beside the settings.

    That is the images it learns from, in their order, and the versions of Blemish and PyTorch. A checkpoint of a run
    with another name is never continued.

    Args:
        hashes: of the images of the run, from `provenance`.
    """
    contents = [(name, [sha for sha, role in part.items() if role == LEARNED]) for name, part in hashes.items()]
    return hashlib.sha256(repr((contents, blemish.__version__, torch.__version__)).encode()).hexdigest()


def _made() -> dict[str, str]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "blemish": blemish.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }


def _paths(good: Path | str | Sequence[Path]) -> list[Path]:
    return read_good(Path(good)) if isinstance(good, (Path, str)) else [Path(path) for path in good]


def _half_of(good: Path | str | Sequence[Path], seed: int) -> list[Path]:
    if not isinstance(good, (Path, str)):
        raise SettingError("`half` divides the good images of a category folder; it was given a list of files.")
    samples = [sample for sample in read_category(Path(good)) if sample.is_good]
    return [sample.path for sample in split_good(samples, seed)[0]]


def _category_name(good: Path | str | Sequence[Path]) -> str:
    if isinstance(good, (Path, str)):
        return category_name(Path(good))
    return category_name(Path(good[0]).parent) if good else ""
