"""Teach our method drawn kinds of parts, and judge it by drawn defects: what settings are chosen by.

    python benchmarks/drawn.py ring:8 kernel:2 plate:8 kernel:6 [--steps 600] [--as-they-lie] [--elsewhere 0.3]

A kind is a family of `drawing.SURFACES` and a seed. Training sees pasted defects only, the judge physical ones only, so
that what is found was not taught. One kind with 600 steps takes some five minutes. Real images choose nothing here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np

from blemish.detection.model_file import NEAREST
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.evaluation.metrics import image_auroc
from blemish.images import write_image
from blemish.learning.assembly import Making, Terms, hold_out, nearest_detector, provenance
from blemish.learning.nearest import NearestSettings, NearestTriplets, PreparedImages
from blemish.learning.pretrained import universal_network
from blemish.learning.survey import survey
from blemish.learning.training import train
from blemish.results import FloatArray

SIDE: Final = 256  # pixels
N_GOOD: Final = 160  # to learn from; parts that lie in any turn show every turn
N_OTHERS: Final = 48  # good ones that are judged
N_DEFECTIVE: Final = 96  # with one defect each


def main() -> None:
    """Teach and judge every kind that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", metavar="FAMILY:SEED", help=f"families are {', '.join(SURFACES)}")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--as-they-lie", action="store_true", help="turn no image")
    parser.add_argument("--elsewhere", type=float, help="share of the negatives that come from another place")
    options = parser.parse_args()
    for kind in options.kinds:
        family, seed = kind.split(":")
        told = taught(family, int(seed), options.steps, options.elsewhere, as_they_lie=options.as_they_lie)
        print(json.dumps({"kind": kind, **told}), flush=True)


def taught(family: str, seed: int, steps: int, elsewhere: float | None, *, as_they_lie: bool) -> dict[str, Any]:
    """Teach one kind; return how well defects are found on other images of it, and how it was taught."""
    whole = drawn(family, seed, 2000, N_DEFECTIVE)
    defective = [
        flaw(image, np.random.default_rng([9, seed, index]))[0]
        for index, (image, flaw) in enumerate(zip(whole, cycle(FLAWS.values()), strict=False))
    ]
    with tempfile.TemporaryDirectory() as name:
        good = hold_out(written(Path(name) / "good", drawn(family, seed, 0, N_GOOD)), family, 0)
        seen = survey(good.learned)
        if as_they_lie:
            seen = seen.as_they_lie()
        preparation = seen.preparation(seen.reference)
        images = PreparedImages(good.learned, preparation)
        settings = NearestSettings.of(seen.reference, seen.explained_as_they_lie, 0)
        settings = replace(settings, physical=0.0)
        if elsewhere is not None:
            settings = replace(settings, elsewhere=elsewhere)
        with closing(NearestTriplets(images, settings, universal_network())) as learner:
            train(learner, n_steps=steps)
        detector = nearest_detector(
            learner.network,
            images,
            good,
            Terms(0.05),
            kind=seen.reference,
            preparation=preparation,
            notes=[],
            making=Making(NEAREST, {}, provenance([good])),
        )
        judged = written(Path(name) / "judged", [*drawn(family, seed, 1000, N_OTHERS), *defective])
        scores = [detector.inspect(path).score for path in judged]
    return {
        "auroc": round(image_auroc(scores[:N_OTHERS], scores[N_OTHERS:]), 4),
        "reference": seen.reference.value,
        "turned": seen.turned is not None,
        "explained": round(seen.explained, 3),
        "explained as they lie": round(seen.explained_as_they_lie, 3),
        "elsewhere": round(settings.elsewhere, 3),
        "steps": steps,
    }


def drawn(family: str, seed: int, first: int, n: int) -> list[FloatArray]:
    """Draw so many images of a kind; ``first`` tells those of one purpose from others."""
    kind = SURFACES[family](np.random.default_rng([7, seed]))
    return [draw_surface(kind, np.random.default_rng([8, seed, first + index]), SIDE, SIDE) for index in range(n)]


def written(folder: Path, images: Sequence[FloatArray]) -> list[Path]:
    """Write images as files."""
    folder.mkdir()
    paths = [folder / f"{index:03}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    return paths


if __name__ == "__main__":
    main()
