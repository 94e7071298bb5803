"""Synthetic defects: what turns a good patch into a negative. Each takes (image, rng) and returns (image, mask)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blemish.results import FloatArray

Defect = Callable[[FloatArray, np.random.Generator], tuple[FloatArray, NDArray[np.bool_]]]

# Random erasing (Zhong et al. 2020, "Random Erasing Data Augmentation", sec. 3.1 and 4.1).
ERASED_AREA: Final = (0.02, 0.4)  # share of the patch
ERASED_ASPECT: Final = (0.3, 1 / 0.3)  # height to width
# Staar et al. 2019 as Tayeh et al. describe it: "Gaussian noise", without its strength. Assumed: from hardly visible
# in a patch scaled to [0, 1] to clearly visible.
NOISE_SIGMA: Final = (0.02, 0.2)


def random_erasing(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Replace one random rectangle by random values.

    Args:
        image: ``(H, W)`` float32 in [0, 1]; not changed.
        rng: source of place, size and filling.

    Returns:
        The erased copy, and the ``(H, W)`` mask of the rectangle.

    Source: Tayeh et al. 2020, sec. IV-B; Zhong et al. 2020, algorithm 1 with p = 1 (a negative is always erased),
    area 0.02 to 0.4, aspect 0.3 to 1/0.3, uniform, and random values per pixel (their best variant, RE-R).
    """
    height, width = image.shape
    while True:
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = rng.uniform(*ERASED_ASPECT)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            break
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    mask = np.zeros(image.shape, dtype=np.bool_)
    mask[top : top + h, left : left + w] = True
    erased = image.copy()
    erased[mask] = rng.random(h * w, dtype=np.float32)
    return erased, mask


def gaussian_noise(image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Add Gaussian noise of one random strength to every pixel.

    Args:
        image: ``(H, W)`` float32 in [0, 1]; not changed.
        rng: source of strength and noise.

    Returns:
        The noisy copy, clipped to [0, 1], and a mask that is true everywhere.

    Source: Staar et al. 2019 as described by Tayeh et al. 2020, sec. II. Assumptions (their text is not at hand): the
    whole patch is covered, the noise is white and additive, its standard deviation is uniform in 0.02 to 0.2.
    """
    sigma = rng.uniform(*NOISE_SIGMA)
    noisy = image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(noisy, 0, 1), np.ones(image.shape, dtype=np.bool_)


DEFECTS: Final[dict[str, Defect]] = {"random_erasing": random_erasing, "gaussian_noise": gaussian_noise}
