"""Blemish finds defects on industrial surfaces after seeing good examples only.

>>> import blemish
>>> detector = blemish.fit("good_parts/")                     # doctest: +SKIP
>>> detector.inspect("part_0815.png").verdict                 # doctest: +SKIP
<Verdict.GOOD: 'good'>
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blemish.detection.detector import Detector
    from blemish.errors import BlemishError
    from blemish.evaluation.evaluate import evaluate
    from blemish.images import read_image
    from blemish.learning.accept import accept
    from blemish.learning.fit import enroll, fit
    from blemish.learning.quantise import quantise
    from blemish.results import Evidence, Inspection, Region, Threshold, Verdict

__version__ = "0.2.0.dev0"

__all__ = [
    "BlemishError",
    "Detector",
    "Evidence",
    "Inspection",
    "Region",
    "Threshold",
    "Verdict",
    "accept",
    "enroll",
    "evaluate",
    "fit",
    "quantise",
    "read_image",
]

# Each name is loaded on first use: `blemish --help` waits for nothing, and inspecting never loads PyTorch.
_HOME = {
    "BlemishError": "blemish.errors",
    "Detector": "blemish.detection.detector",
    "Evidence": "blemish.results",
    "Inspection": "blemish.results",
    "Region": "blemish.results",
    "Threshold": "blemish.results",
    "Verdict": "blemish.results",
    "accept": "blemish.learning.accept",
    "enroll": "blemish.learning.fit",
    "evaluate": "blemish.evaluation.evaluate",
    "fit": "blemish.learning.fit",
    "quantise": "blemish.learning.quantise",
    "read_image": "blemish.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'blemish' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "blemish":
            raise
        from blemish.errors import MissingExtraError

        raise MissingExtraError.of(error) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
