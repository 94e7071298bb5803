"""Pictures of what the reference set was made from, to explain verdicts with: makes `detection.evidence.Patches`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.detection.evidence import PATCH, Patches, cut
from blemish.learning.network import BoundedNetwork
from blemish.learning.reference import ToNearest, ToNearestHere
from blemish.results import FloatArray

_MOST_PX: Final = 2**22  # of all pictures together: about a megabyte in the model file
_STRIDE: Final = BoundedNetwork.STRIDE


def patches_of(
    reference: ToNearestHere | ToNearest, embeddings: Sequence[Tensor], image: Callable[[int], FloatArray]
) -> Patches:
    """Take pictures of the good images that a reference set was made from.

    Args:
        reference: from `reference.nearest_reference`, with its origins.
        embeddings: ``(D, h, w)`` of every image that it was made from.
        image: gives one of these images, prepared, as a picture: ``(H, W)``, or ``(H, W, 3)`` RGB.
    """
    assert reference.origins is not None
    if isinstance(reference, ToNearest):
        return _cut_out(reference.origins, image)
    return _whole(reference.medoids, reference.origins, embeddings, image)


def _cut_out(origins: Tensor, image: Callable[[int], FloatArray]) -> Patches:
    """Cut a picture for every embedding of a bank."""
    pictures: dict[int, NDArray[np.uint8]] = {}
    for source in sorted(set(origins[:, 0].tolist())):
        prepared = _in_8_bits(image(source))
        for number in (origins[:, 0] == source).nonzero().flatten().tolist():
            row, column = (_STRIDE * origins[number, 1:] + _STRIDE // 2).tolist()
            pictures[number] = cut(prepared, row, column)
    places = np.full((len(origins), 3), PATCH // 2, dtype=np.uint16)
    places[:, 0] = np.arange(len(origins))
    return Patches(np.stack([pictures[number] for number in range(len(origins))]), places)


def _whole(
    medoids: Tensor, origins: Tensor, embeddings: Sequence[Tensor], image: Callable[[int], FloatArray]
) -> Patches:
    """Keep those images that most medoids come from; the other medoids are shown by what is nearest to them in these.

    Every image is the origin of some, but a hundred images would make a large file.
    """
    h, w = medoids.shape[2:]
    used = torch.bincount(origins, minlength=len(embeddings)).argsort(descending=True, stable=True)
    n = max(1, _MOST_PX // (h * w * _STRIDE**2))
    kept = used[:n].sort().values.tolist()
    products = torch.stack([(medoids * embeddings[index]).sum(dim=1) for index in kept])  # (n, k, h, w)
    rows, columns = np.indices((h, w), dtype=np.uint16) * _STRIDE + _STRIDE // 2
    shown = products.argmax(dim=0).numpy().astype(np.uint16)  # (k, h, w)
    places = np.stack(np.broadcast_arrays(shown, rows, columns), axis=-1)  # (k, h, w, 3)
    return Patches(np.stack([_in_8_bits(image(index)) for index in kept]), places.reshape(-1, 3))


def _in_8_bits(prepared: FloatArray) -> NDArray[np.uint8]:
    return np.rint(255 * prepared).astype(np.uint8)
