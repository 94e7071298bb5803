"""Our learner: nearest-normal triplets, dense over whole images or large crops.

An image is inspected by the distance of each of its locations to the *nearest* good embedding. So that is the distance
that is trained: some good images of a step are the reference set, the others are given synthetic defects. The positive
distance is that of a clean location to the nearest embedding of the reference set, the negative one that of a
defective location to the nearest of the same set; the loss is the paper's (`losses.triplet_softmax_loss`). The paper's
prototype is the special case of a reference set of one.

Where images are aligned, "nearest" means nearest at the same location, give or take a cell; elsewhere nearest anywhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.detection.pose import Pose
from blemish.detection.preparation import Preparation, picture
from blemish.errors import SettingError
from blemish.images import DIFFERENCES
from blemish.learning.defects import (
    STRUCTURAL,
    SURFACE,
    Defect,
    any_defect,
    any_softness,
    through_lens,
    through_one_camera,
    vary_light,
)
from blemish.learning.known import KnownDefects
from blemish.learning.losses import euclidean_distance, triplet_softmax_loss
from blemish.learning.network import NEAR, WIDE, BoundedNetwork, near_part
from blemish.learning.pretrained import Pretrained
from blemish.learning.reference import SHIFT, Reference
from blemish.learning.survey import PLACED
from blemish.learning.training import FIRST_PART
from blemish.learning.triplets import LEVELS, temporary_file
from blemish.progress import Progress, silent
from blemish.results import FloatArray
from blemish.strips import GreyImage, read_all

_AHEAD: Final = 3  # batches drawn while the network works on another
_MOST_ELSEWHERE: Final = 0.6  # of all triplets; the others are needed for drawn defects
_USUAL_CROP_PX: Final = 256**2  # a step is 13 of these, or fewer that are larger
LARGE_CROP: Final = 384  # pixels a side; no training cuts larger ones
_FAR: Final = 6  # cells that are surely another place
_BANK: Final = 2048  # embeddings in the reference set of a step where images are not aligned
_MOST_DRAWS: Final = 100  # of one step, until a defect lies outside of the ignored zones
_CELLS_AT_ONCE: Final = 4096  # whose distances to the reference set are in memory together


_Drawn = TypeVar("_Drawn")


@dataclass(frozen=True)
class NearestSettings:
    """How a step is made; none is chosen per category. What led to them: docs/experiments.md."""

    aligned: bool  # compare at the same location
    near: bool = False  # with a near sight, for parts that are placed (`survey.Survey.is_placed`)
    seed: int = 0  # of the initial weights and of every draw
    crop: int = 256  # largest side in pixels of what is cut from an image
    n_reference: int = 5  # good images in the reference set of a step; this and the next two for crops of 256 x 256
    n_defective: int = 8  # images with synthetic defects
    most_defects: int = 5  # on one of them; at least one
    n_known: int = 3  # more images, with known defects, where such are given
    known: float = 0.5  # share of the negatives that are known defects then, "elsewhere" not counted; at most half
    physical: float = 0.5  # share of defects that are drawn as they come about (`defects.PHYSICAL`)
    structural: float = 0.6  # share of the others that put a piece of a part elsewhere; half of it if not aligned
    margin: int = 2  # cells around a defect that count neither as clean nor as defective
    triplets: int = 2048  # a step
    clean: int = 4096  # clean locations that are looked at to find the hardest
    hardest: float = 0.02  # share of them that counts as hard; an image is judged by its worst location
    hard: float = 0.5  # share of the triplets whose positive is a hard one
    elsewhere: float = 0.0  # share of the triplets whose negative is the reference set at another place (aligned only)
    learning_rate: float = 2e-3  # at its highest; rises over the first steps, then falls as a cosine
    weight_decay: float = 1e-4

    @classmethod
    def of(cls, reference: Reference, explained: float, seed: int) -> NearestSettings:
        """Make the settings for images of which the mean explains so much (`survey.Survey.explained_as_they_lie`).

        The more a place says about what belongs there, the more there is to learn from other places. Parts that lie in
        different turns lose by it, also where images are turned until they lie alike; so the share is what the mean
        explains as they lie, up to `_MOST_ELSEWHERE`.

        Crops that are compared anywhere are large, and so are the defects drawn on them; it seems to be these that help
        (docs/experiments.md). Where places are compared it is the *number* of images that makes the reference set, and
        larger crops are fewer.
        """
        if reference is not Reference.LOCATION:
            return cls(aligned=False, crop=LARGE_CROP, seed=seed)
        return cls(aligned=True, near=explained > PLACED, seed=seed, elsewhere=min(explained, _MOST_ELSEWHERE))

    def for_crops_of(self, height: int, width: int) -> NearestSettings:
        """Take fewer images, with more defects on each, where crops are large: as many pixels and defects in a step.

        The defects are larger too, for their sizes go with the crop. Images with known defects stay as many: they have
        as many defects whatever their size.
        """
        larger = max(1.0, height * width / _USUAL_CROP_PX)
        return replace(
            self,
            n_reference=max(1, round(self.n_reference / larger)),
            n_defective=max(1, round(self.n_defective / larger)),
            most_defects=round(self.most_defects * larger),
        )


class PreparedImages:
    """Good images, prepared and kept on disk behind a memory map, ready to be cut.

    Memory stays flat however many images there are. The temporary file vanishes with the object. Training cuts the grey
    alone; colours, of which a cell has one mean, are kept at half the size.

    Args:
        paths: the images; at least one.
        preparation: how they are prepared.
        progress: told after each image.

    Raises:
        ImageError: some images cannot be read; all of them are named.
        OutputError: the temporary folder has no room.
    """

    def __init__(self, paths: Sequence[Path], preparation: Preparation, progress: Progress = silent) -> None:
        shapes: list[tuple[int, int]] = []
        self._sizes: list[tuple[int, int]] = []
        self._poses: list[Pose | None] = []
        with temporary_file() as file:

            def keep(index: int, source: GreyImage) -> None:
                image = preparation.prepared(source)
                grey, *colours = image.all_pixels()
                for plane in (grey, *map(_halved, colours)):
                    file.write(np.rint(plane * LEVELS).astype(np.uint16).tobytes())
                self._poses.append(image.pose)
                shapes.append(image.shape)
                self._sizes.append(source.shape)
                progress("reading images", index + 1, len(paths))

            read_all(paths, keep)
            file.flush()
            kept = np.memmap(file, dtype=np.uint16, mode="r")
        self.shapes = np.array(shapes)  # (n, 2) int: rows and columns of every image
        n_colours = len(DIFFERENCES) if preparation.coloured else 0
        self._greys: list[NDArray[np.uint16]] = []
        self._colours: list[NDArray[np.uint16]] = []  # (0 or 2, H / 2, W / 2) each
        begin = 0
        for height, width in shapes:
            middle = begin + height * width
            end = middle + n_colours * (height // 2) * (width // 2)
            self._greys.append(kept[begin:middle].reshape(height, width))
            self._colours.append(kept[middle:end].reshape(n_colours, height // 2, width // 2))
            begin = end

    def __len__(self) -> int:
        return len(self._greys)

    def shape(self, index: int) -> tuple[int, int]:
        """Return rows and columns of an image."""
        rows, columns = self._greys[index].shape
        return rows, columns

    def size(self, index: int) -> tuple[int, int]:
        """Return rows and columns that an image had before it was prepared."""
        return self._sizes[index]

    def pose(self, index: int) -> Pose | None:
        """Return how the part lay on an image before it was turned; None: it was not."""
        return self._poses[index]

    def cut(self, index: int, top: int, left: int, height: int, width: int) -> FloatArray:
        """Cut a window of the grey: ``(height, width)`` float32 in [0, 1]."""
        window = self._greys[index][top : top + height, left : left + width]
        return np.asarray(window / np.float32(LEVELS), dtype=np.float32)

    def whole(self, index: int) -> FloatArray:
        """Return the grey of an image: ``(H, W)`` float32 in [0, 1]."""
        return self.cut(index, 0, 0, *self.shape(index))

    def picture(self, index: int) -> FloatArray:
        """Return an image to look at, as `Prepared.picture` does."""
        return picture(self.pixels(index))

    def pixels(self, index: int) -> FloatArray:
        """Return an image as a graph takes it: ``(1 or 3, H, W)`` float32 in [0, 1]."""
        return np.concatenate([self.whole(index)[None], self.colours(index)])

    def colours(self, index: int) -> FloatArray:
        """Return the colour differences of an image: ``(0 or 2, H, W)`` float32 in [0, 1]."""
        return np.asarray(self._colours[index].repeat(2, axis=1).repeat(2, axis=2) / np.float32(LEVELS))


def _halved(plane: FloatArray) -> FloatArray:
    """Shrink a plane of a prepared image, whose sides are multiples of 4, to half its sides."""
    height, width = plane.shape
    return np.asarray(plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)))


@dataclass(frozen=True)
class Batch:
    """The pixels of one step."""

    reference: FloatArray  # (R, H, W) float32 in [0, 1], good
    defective: FloatArray  # (N, H, W) float32 in [0, 1], with defects
    defects: NDArray[np.int32]  # (N, H, W): 0 where clean, otherwise a number for every defect of the batch
    counted: FloatArray | None = None  # (h, w): 1 for cells that are learned from, 0 for ignored ones; None: all are
    n_known: int = 0  # of the last images: their defects are known ones, the others' are drawn


def draw_batch(
    images: PreparedImages,
    settings: NearestSettings,
    step: int,
    counted: FloatArray | None = None,
    known: KnownDefects | None = None,
) -> Batch:
    """Cut the images of a step and give them defects; depends on nothing but its arguments.

    Aligned images are cut at one and the same place, others anywhere. All are cut to the largest size that fits into
    each of those drawn, so that nothing has to be made up beyond an edge; where sizes differ, all come from images at
    least as large as one that is drawn first, or the smallest of a dozen would always decide. An image is never its own
    reference: no inspection ever sees such a distance.

    Args:
        images: prepared good images.
        settings: how a step is made.
        step: its number.
        counted: of whole aligned images, see `Batch`; defects are drawn until one can be seen outside of the zones.
        known: images with known defects; None: there are none. They are cut where a defect is, unless aligned; small
            ones are shown only where good images are as small, or all of the known ones are smaller.

    Raises:
        SettingError: the zones leave so little that no defect falls on it.
    """
    rng = np.random.default_rng([settings.seed, step])
    for _ in range(_MOST_DRAWS):
        batch = _cut_and_spoil(images, settings, counted, known, rng)
        if _shows_a_defect(batch):
            return batch
    raise SettingError(
        f"In {_MOST_DRAWS} attempts no synthetic defect fell outside of the ignored zones. Expected zones that leave "
        "more of the image; or fit without them, and set them afterwards with `blemish zones`."
    )


def _cut_and_spoil(
    images: PreparedImages,
    settings: NearestSettings,
    counted: FloatArray | None,
    known: KnownDefects | None,
    rng: np.random.Generator,
) -> Batch:
    n_images = settings.n_reference + settings.n_defective
    order = _some_of_one_size(images.shapes, settings.crop, n_images, rng)
    smallest = images.shapes[order[:n_images]].min(axis=0)  # (2,)
    shown: list[int] = []
    if known is not None:
        shown = _some_as_large(known.shapes, np.minimum(settings.crop, smallest), settings.n_known, rng)
        smallest = np.minimum(smallest, known.shapes[shown].min(axis=0))
    settings = settings.for_crops_of(*np.minimum(settings.crop, smallest).tolist())
    n_images = settings.n_reference + settings.n_defective
    first = max(1, min(settings.n_reference, len(order) * settings.n_reference // n_images))  # to be the reference set
    chosen = np.concatenate([
        np.resize(order[:first], settings.n_reference),  # repeated where there are too few
        np.resize(order[first:], settings.n_defective),
    ])  # fmt: skip
    shapes = images.shapes[chosen]  # (n, 2)
    stride, coarsest = BoundedNetwork.STRIDE, BoundedNetwork.COARSEST
    size = np.minimum(settings.crop, smallest) // stride * stride  # (2,)
    if settings.aligned:
        # A location is the same cell in every image, cut or whole. A little larger, so that the last crop ends where
        # the images end.
        size += (smallest - size) % coarsest // stride * stride
        corners = rng.integers(0, (shapes - size) // coarsest + 1) * coarsest  # (n, 2)
        corners[:] = corners[0] if counted is None else _where_some_count(corners[0], counted, size, rng)
    else:
        corners = rng.integers(0, shapes - size + 1)
    height, width = size.tolist()
    crops = [
        np.clip(vary_light(images.cut(index, top, left, height, width), rng)[0], 0, 1)
        for index, (top, left) in zip(chosen, corners, strict=True)
    ]
    # Where places mean nothing, a piece of the surface elsewhere is just more surface.
    structural = settings.structural if settings.aligned else settings.structural / 2
    good, spoiled = crops[: settings.n_reference], crops[settings.n_reference :]

    def next_defect() -> Defect:
        return any_defect(settings.physical, STRUCTURAL if rng.random() < structural else SURFACE, rng)

    marked: list[tuple[FloatArray, NDArray[np.bool_]]] = []
    if known is not None:
        for index in shown:
            top, left = corners[0] if settings.aligned else known.around_a_defect(index, height, width, rng)
            crop, mask = known.cut(index, top, left, height, width)
            marked.append((np.clip(vary_light(crop, rng)[0], 0, 1), mask))
    batch = spoil(good, spoiled, settings.most_defects, next_defect, rng, marked)
    if counted is None:
        return batch
    top, left = corners[0] // stride
    return replace(batch, counted=counted[top : top + height // stride, left : left + width // stride])


def _where_some_count(
    corner: NDArray[np.int64], counted: FloatArray, size: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the corner of an aligned crop again if none of its cells is learned from: whole steps would be in vain.

    Args:
        corner: ``(2,)``, row and column in pixels.
        counted: ``(h, w)`` of whole images, see `Batch`.
        size: ``(2,)``, rows and columns of the crop in pixels.
        rng: of the draw; every corner of a crop with such cells is as likely.
    """
    apart = BoundedNetwork.COARSEST // BoundedNetwork.STRIDE  # cells from one corner to the next
    cells = size // BoundedNetwork.STRIDE
    windows = np.lib.stride_tricks.sliding_window_view(counted, (int(cells[0]), int(cells[1])))[::apart, ::apart]
    if windows[tuple(corner // BoundedNetwork.COARSEST)].any():
        return corner
    others = np.argwhere(windows.any(axis=(2, 3)))  # (n, 2)
    return np.asarray(rng.choice(others) * BoundedNetwork.COARSEST) if len(others) else corner


def _some_of_one_size(shapes: NDArray[np.int64], crop: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose images that are at least as large as one that is drawn, in random order; all where no two are.

    Args:
        shapes: ``(images, 2)``, rows and columns.
        crop: largest side that is cut; larger images do not differ.
        n: how many a step needs: the one is drawn among as many.
        rng: of the order.
    """
    order = rng.permutation(len(shapes))
    cut = np.minimum(shapes, crop)
    if (cut == cut[0]).all():
        return order
    fitting = order[(cut[order] >= cut[order[rng.integers(min(n, len(order)))]]).all(axis=1)]
    return fitting if len(fitting) > 1 else order


def _some_as_large(shapes: NDArray[np.int64], size: NDArray[np.int64], n: int, rng: np.random.Generator) -> list[int]:
    """Draw n images that are at least of this size, or among all where none is; one may be drawn again.

    Args:
        shapes: ``(images, 2)``, rows and columns.
        size: ``(2,)``, rows and columns of what is to be cut; a smaller image would make all crops of a step smaller.
        n: how many.
        rng: of the draw.
    """
    large = np.flatnonzero((shapes >= size).all(axis=1))
    among = large if len(large) else np.arange(len(shapes))
    chosen: list[int] = among[rng.integers(len(among), size=n)].tolist()
    return chosen


def _shows_a_defect(batch: Batch) -> bool:
    """Say whether a drawn defect lies, in part at least, in cells that are learned from."""
    if batch.counted is None:
        return True
    stride = BoundedNetwork.STRIDE
    learned = batch.counted.repeat(stride, axis=0).repeat(stride, axis=1)  # (H, W)
    return bool((batch.defects[: len(batch.defects) - batch.n_known] * learned).any())


def spoil(
    reference: Sequence[FloatArray],
    good: Sequence[FloatArray],
    most_defects: int,
    next_defect: Callable[[], Defect],
    rng: np.random.Generator,
    known: Sequence[tuple[FloatArray, NDArray[np.bool_]]] = (),
) -> Batch:
    """Give good images defects, as soft as one lens makes them, and look at all images through one camera.

    Args:
        reference: images ``(H, W)`` that stay good.
        good: images of the same size that get defects.
        most_defects: on one image; at least one.
        next_defect: draws what kind comes next.
        rng: of number, place and shape.
        known: more images of the same size that have defects, and where; what is marked on one counts as one defect.
    """
    defective, labels, count = [], [], 0
    softness = any_softness(rng)
    for image in good:
        label = np.zeros(image.shape, dtype=np.int32)
        for _ in range(rng.integers(1, most_defects + 1)):
            count += 1
            image, mask = through_lens(next_defect(), softness)(image, rng)
            label[mask] = count
        defective.append(image)
        labels.append(label)
    for number, (image, mask) in enumerate(known, start=count + 1):
        defective.append(image)
        labels.append(np.where(mask, number, 0).astype(np.int32))
    seen = through_one_camera(np.stack([*reference, *defective]), rng)
    return Batch(seen[: len(reference)], seen[len(reference) :], np.stack(labels), n_known=len(known))


class DrawnAhead(Generic[_Drawn]):
    """Has the batches of the next steps drawn while the network works on this one.

    Args:
        draw: makes the batch of a step, from nothing but its number.
        drawer: threads or processes to draw in.
        ahead: how many steps.
    """

    def __init__(self, draw: Callable[[int], _Drawn], drawer: Executor, ahead: int) -> None:
        self._draw, self._drawer, self._ahead = draw, drawer, ahead
        self._drawn: dict[int, Future[_Drawn]] = {}
        self.waited_s = 0.0  # how long steps have waited for their batch

    def take(self, step: int) -> _Drawn:
        """Return the batch of a step."""
        for number in range(step, step + 1 + self._ahead):
            if number not in self._drawn:
                self._drawn[number] = self._drawer.submit(self._draw, number)
        started = time.monotonic()
        batch = self._drawn.pop(step).result()
        self.waited_s += time.monotonic() - started
        return batch

    def close(self) -> None:
        """Draw no more."""
        self._drawer.shutdown(cancel_futures=True)


class DenseTriplets(Generic[_Drawn]):
    """What the learners of nearest-normal triplets share: network, optimiser, precision, batches drawn ahead.

    Args:
        network: to be taught.
        learning_rate: at its highest.
        weight_decay: of AdamW.
        batches: of the steps.
    """

    def __init__(
        self, network: BoundedNetwork, learning_rate: float, weight_decay: float, batches: DrawnAhead[_Drawn]
    ) -> None:
        self.network = network
        self.bfloat16 = multiplies_bfloat16_fast()
        self._highest_rate, self._weight_decay = learning_rate, weight_decay
        self._batches = batches

    @property
    def waited_s(self) -> float:
        """How long steps have waited for their batch."""
        return self._batches.waited_s

    def close(self) -> None:
        """Draw no more batches."""
        self._batches.close()

    def optimiser(self) -> torch.optim.Optimizer:
        """Make AdamW."""
        return torch.optim.AdamW(self.network.parameters(), lr=self._highest_rate, weight_decay=self._weight_decay)

    def learning_rate(self, step: int, n_steps: int) -> float:
        """Return the rate of a step, see `rate`."""
        return self._highest_rate * rate(step, n_steps)

    def _embed(self, batches: Sequence[Batch], device: torch.device) -> Tensor:
        """Embed all images, those of one batch after those of another, reference images first: ``(n, D, h, w)``."""
        images = [images for batch in batches for images in (batch.reference, batch.defective)]
        pixels = torch.from_numpy(np.concatenate(images)).unsqueeze(1)  # (n, 1, H, W)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
            embeddings: Tensor = self.network(pixels.to(device))
        return embeddings


class NearestTriplets(DenseTriplets[Batch]):
    """Teaches our network on nearest-normal triplets of one category, in grey; a `training.Learner`.

    Args:
        images: prepared good images; at least two.
        settings: how a step is made.
        start: a trained network of wide sight to go on with, or with its `network.near_part`; None: from scratch.
        counted: ``(h, w)`` cells of whole images that are learned from, as `Preparation.counted` tells them; aligned
            images only, for elsewhere a zone means another place in every crop. None: all are.
        known: images with known defects, which are negatives beside the drawn ones; None: there are none.
    """

    def __init__(
        self,
        images: PreparedImages,
        settings: NearestSettings,
        start: Pretrained | None = None,
        counted: FloatArray | None = None,
        known: KnownDefects | None = None,
    ) -> None:
        drawer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blemish-defects")
        if start is None:
            generator = torch.Generator().manual_seed(settings.seed)
            network = BoundedNetwork(generator, NEAR if settings.near else WIDE)
        else:
            network = near_part(start.network) if settings.near else start.network
        super().__init__(
            network,
            settings.learning_rate,
            settings.weight_decay,
            DrawnAhead(partial(draw_batch, images, settings, counted=counted, known=known), drawer, _AHEAD),
        )
        self.key: dict[str, Any] = {"n_images": len(images), "bfloat16": self.bfloat16, **asdict(settings)}
        if start is not None:
            self.key["start"] = start.about["sha256"]
        if counted is not None:
            self.key["counted"] = hashlib.sha256(counted.tobytes()).hexdigest()
        if known is not None:
            self.key["known_defects"] = known.digest
        self._settings = settings

    def loss(self, step: int, device: torch.device) -> tuple[Tensor, int]:
        """Draw the batch of a step; return the mean loss of its triplets and their number."""
        batch, settings = self._batches.take(step), self._settings
        embeddings = self._embed([batch], device)  # (R + N, D, h, w)
        reference, images = embeddings[: len(batch.reference)], embeddings[len(batch.reference) :]
        generator = torch.Generator().manual_seed(int(np.random.default_rng([settings.seed, step, 1]).integers(2**62)))
        loss = nearest_normal_loss(reference, images, batch.defects, settings, generator, batch.counted, batch.n_known)
        return loss, settings.triplets


def rate(step: int, n_steps: int) -> float:
    """Rise linearly to 1 over the first 30 steps, stay for a tenth of all, then fall to 0.01 as half a cosine."""
    warm_up = min(1.0, (step + 1) / 30)
    stay = n_steps // FIRST_PART
    fall = 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * max(step - stay, 0) / (n_steps - stay))))
    return warm_up * fall


def nearest_normal_loss(
    reference: Tensor,
    images: Tensor,
    defects: NDArray[np.int32],
    settings: NearestSettings,
    generator: torch.Generator,
    counted: FloatArray | None = None,
    n_known: int = 0,
) -> Tensor:
    """Ask that clean locations be nearer to a reference set than defective ones, and than places are to other places.

    Args:
        reference: ``(R, D, h, w)`` embeddings of good images.
        images: ``(N, D, h, w)`` embeddings of images with defects.
        defects: ``(N, H, W)``: 0 where clean, otherwise a number for every defect.
        settings: how many triplets of which sort.
        generator: of all draws.
        counted: ``(h, w)`` cells from which locations are drawn, see `Batch`; None: from all.
        n_known: of the last images, whose defects are known ones.

    Returns:
        Scalar in (0, 1), the mean over all triplets.
    """
    device = images.device
    clean, defective = locations(defects, settings.margin, counted)  # (N, h, w) weights each
    n_elsewhere = round(settings.elsewhere * settings.triplets)
    references = _references(reference, settings.aligned, generator)
    positives = _draw(clean, settings.clean, generator)
    negatives = _draw_negatives(defective, n_known, settings.triplets - n_elsewhere, settings.known, generator)
    d_positive = nearest_distance(images, positives.to(device), references)
    d_negative = nearest_distance(images, negatives.to(device), references)
    if n_elsewhere:
        moved = elsewhere_distance(images, reference, n_elsewhere, generator, counted)
        d_negative = torch.cat([d_negative, moved])
    # Every negative is paired with a positive, some of them with one of the hardest.
    n_hard = round(settings.hard * settings.triplets)
    hardest = d_positive.topk(max(1, round(settings.hardest * settings.clean))).values
    hard = hardest.index_select(0, torch.randint(len(hardest), (n_hard,), generator=generator).to(device))
    paired = torch.cat([hard, d_positive[: settings.triplets - n_hard]])
    order = torch.randperm(len(paired), generator=generator).to(device)
    return triplet_softmax_loss(paired.index_select(0, order), d_negative)


def locations(defects: NDArray[np.int32], margin: int, counted: FloatArray | None = None) -> tuple[Tensor, Tensor]:
    """Tell clean cells from defective ones.

    Args:
        defects: ``(N, H, W)``: 0 where clean, otherwise a number for every defect.
        margin: cells around a defect that are neither.
        counted: ``(h, w)``, 0 for cells that are neither because they are ignored, else 1; None: none is ignored.

    Returns:
        Two ``(N, h, w)`` float32 tensors of weights to draw with: 1 for clean cells, 0 for others; and for defective
        cells one over the cells of their defect, so that a small defect counts as much as a large one. A cell is
        defective when *any* of its pixels is: a thin crack fills no cell.
    """
    stride = BoundedNetwork.STRIDE
    labels = nn.functional.max_pool2d(torch.from_numpy(defects).float().unsqueeze(1), stride).squeeze(1).long()
    near = nn.functional.max_pool2d((labels > 0).float(), 2 * margin + 1, stride=1, padding=margin)  # (N, h, w)
    learned = torch.ones(labels.shape[1:]) if counted is None else torch.from_numpy(counted)  # (h, w)
    labels = labels * learned.long()
    n_cells = torch.bincount(labels.flatten())  # of every defect; 0 is none
    defective = torch.where(labels > 0, 1 / n_cells[labels].float(), 0.0)  # (N, h, w)
    clean = (1 - near) * learned
    if not clean.any():  # tiny images full of defects
        clean = torch.ones_like(clean) * learned
    return clean, defective


def nearest_distance(images: Tensor, where: Tensor, references: Tensor) -> Tensor:
    """Measure how far locations lie from the nearest embedding of a reference set: the distance of inspection.

    Args:
        images: ``(N, D, h, w)`` embeddings.
        where: ``(n,)`` int, which of the ``N h w`` locations.
        references: ``(B, D)`` for a bank, nearest anywhere; or ``(R, D, h, w)``, nearest at the same location or at
            most `SHIFT` cells beside it.

    Returns:
        ``(n,)`` float32, 0 or more. Which embedding is nearest is looked up without a gradient; the distance to it has
        one, with respect to both.
    """
    # index_select, here and below: the gradient of plain indexing adds up in no fixed order, and differs run by run.
    chosen = images.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, where)  # (n, D)
    if references.ndim == 2:
        with torch.no_grad():
            nearest = torch.cat([(part @ references.T).argmax(1) for part in torch.split(chosen, _CELLS_AT_ONCE)])
        return euclidean_distance(chosen, references.index_select(0, nearest))
    R, _, h, w = references.shape
    reach = 2 * SHIFT + 1
    around = nn.functional.pad(references, [SHIFT] * 4, mode="replicate")  # (R, D, h + 2, w + 2)
    flat = around.permute(0, 2, 3, 1).flatten(0, 2)  # (R (h + 2) (w + 2), D)
    image, row, column = torch.meshgrid(torch.arange(R), torch.arange(reach), torch.arange(reach), indexing="ij")
    offsets = ((image * (h + reach - 1) + row) * (w + reach - 1) + column).flatten().to(where.device)  # (R 9,)
    cell = where % (h * w)
    corners = torch.div(cell, w, rounding_mode="floor") * (w + reach - 1) + cell % w  # (n,)
    candidates = corners[:, None] + offsets  # (n, R 9)
    with torch.no_grad():
        # Vectors have one length, so the largest product is the smallest distance.
        nearest = torch.cat([
            torch.bmm(flat[some], part.unsqueeze(2)).squeeze(2).argmax(1)
            for some, part in zip(*(torch.split(t, _CELLS_AT_ONCE) for t in (candidates, chosen)), strict=True)
        ])  # fmt: skip
    return euclidean_distance(chosen, flat.index_select(0, candidates.gather(1, nearest[:, None]).squeeze(1)))


def elsewhere_distance(
    images: Tensor, reference: Tensor, n: int, generator: torch.Generator, counted: FloatArray | None = None
) -> Tensor:
    """Measure how far random locations lie from the reference set at *another* place of aligned images.

    These are negatives without a seam: they teach what belongs where, so that a part that is missing, moved or wrong is
    far from the reference set even where nothing on it looks damaged.

    Args:
        images: ``(N, D, h, w)`` embeddings.
        reference: ``(R, D, h, w)`` embeddings.
        n: how many.
        generator: of the draw.
        counted: ``(h, w)`` cells among which locations are drawn, see `Batch`; None: among all.

    Returns:
        ``(n,)`` float32, distance to the nearest of the R embeddings at a place at least `_FAR` cells away.
    """
    N, _, h, w = images.shape

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n,), generator=generator)

    far_y, far_x = min(_FAR, h // 2), min(_FAR, w // 2)
    image, y, x = draw(N), draw(h), draw(w)
    if counted is not None:
        cell = _draw(torch.from_numpy(counted), n, generator)
        y, x = torch.div(cell, w, rounding_mode="floor"), cell % w
    # One axis moves far, the other freely; an axis of one cell cannot move at all.
    vertical = draw(2).bool() if min(h, w) > 1 else torch.full((n,), h > w)
    dy = torch.where(vertical, far_y + draw(h - 2 * far_y + 1), draw(h))
    dx = torch.where(vertical, draw(w), far_x + draw(w - 2 * far_x + 1))
    cells = images.permute(0, 2, 3, 1).flatten(0, 2)  # (N h w, D)
    here = cells.index_select(0, ((image * h + y) * w + x).to(images.device))  # (n, D)
    places = reference.permute(2, 3, 0, 1).flatten(0, 1)  # (h w, R, D)
    at = ((y + dy) % h * w + (x + dx) % w).to(images.device)
    with torch.no_grad():
        nearest = torch.bmm(places.index_select(0, at), here.unsqueeze(2)).squeeze(2).argmax(1)
    one_by_one = places.flatten(0, 1)  # (h w R, D)
    return euclidean_distance(here, one_by_one.index_select(0, at * len(reference) + nearest))


def _references(reference: Tensor, aligned: bool, generator: torch.Generator) -> Tensor:
    """Take the reference images as they are, or a random bank of their cells."""
    if aligned:
        return reference
    cells = reference.permute(0, 2, 3, 1).flatten(0, 2)  # (R h w, D)
    return cells.index_select(0, torch.randperm(len(cells), generator=generator)[:_BANK].to(cells.device))


def _draw_negatives(defective: Tensor, n_known: int, n: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw defective locations: a share of them from the last ``n_known`` images, unless nothing of theirs shows."""
    drawn, known = defective[: len(defective) - n_known], defective[len(defective) - n_known :]
    n_of_known = round(share * n) if known.any() else 0
    negatives = _draw(drawn, n - n_of_known, generator)
    if not n_of_known:
        return negatives
    return torch.cat([negatives, drawn.numel() + _draw(known, n_of_known, generator)])


def _draw(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return torch.multinomial(weights.flatten(), n, replacement=True, generator=generator)


def multiplies_bfloat16_fast() -> bool:
    """Say whether mixed precision pays on this machine: where what trains multiplies bfloat16 natively.

    That is the GPU where PyTorch finds one, else the processor. Others emulate it, slowly. The answer is a fact of the
    machine, not a timing, so that the same seed gives the same weights there each time.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # PyTorch has no public name for it
    return bool(native())
