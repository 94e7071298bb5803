"""What good looks like: the prototype, the mean embedding of good images (Tayeh et al. 2020, sec. IV-E)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor

from blemish.images import prepare, read_image
from blemish.learning.network import TripletNetwork
from blemish.progress import Progress, silent


class Prototype(StrEnum):
    """Two readings of the paper's "pixel-wise subtraction" from "the prototype" (sec. I and IV-E)."""

    LOCATION = "location"  # one mean per location: for parts that always lie the same way
    CATEGORY = "category"  # one mean for all locations: for textures and parts that lie freely


def mean_embedding(
    network: TripletNetwork, paths: Sequence[Path], side: int, kind: Prototype, progress: Progress = silent
) -> Tensor:
    """Average the embeddings of good images.

    Args:
        network: in evaluation mode.
        paths: good images, at least one.
        side: pixels a side to which images are prepared.
        kind: one mean per location, or one for all.
        progress: told after each image.

    Returns:
        ``(16, h, w)`` float32 per location, or ``(16, 1, 1)`` per category. One image is in memory at a time.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device)
    total: Tensor | None = None
    with torch.inference_mode():
        for done, path in enumerate(paths, start=1):
            pixels = torch.from_numpy(prepare(read_image(path), side, side))[None, None].to(device)  # (1, 1, H, W)
            embedding = network(pixels)[0].double()  # (16, h, w)
            if kind is Prototype.CATEGORY:
                embedding = embedding.mean(dim=(1, 2), keepdim=True)  # (16, 1, 1)
            total = embedding if total is None else total + embedding
            progress("averaging good images", done, len(paths))
    assert total is not None, "callers give at least one image"
    network.cpu()
    return (total / len(paths)).float().cpu()
