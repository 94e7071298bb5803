"""Blemish finds defects on industrial surfaces after seeing good examples only.

>>> import blemish
>>> detector = blemish.fit("good_parts/")                     # doctest: +SKIP
>>> detector.inspect("part_0815.png").verdict                 # doctest: +SKIP
<Verdict.GOOD: 'good'>
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blemish.detection.detector import Detector
from blemish.errors import BlemishError
from blemish.errors import MissingExtraError as _MissingExtraError
from blemish.images import read_image
from blemish.results import Inspection, Region, Threshold, Verdict

if TYPE_CHECKING:
    from blemish.evaluation.evaluate import evaluate
    from blemish.learning.fit import enroll, fit

__version__ = "0.1.0"

__all__ = [
    "BlemishError",
    "Detector",
    "Inspection",
    "Region",
    "Threshold",
    "Verdict",
    "enroll",
    "evaluate",
    "fit",
    "read_image",
]

# Names that need the extra `learn`; looked up on first use, so that inspecting never loads PyTorch.
_LEARN = {
    "enroll": "blemish.learning.fit",
    "evaluate": "blemish.evaluation.evaluate",
    "fit": "blemish.learning.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _LEARN:
        raise AttributeError(f"module 'blemish' has no attribute {name!r}")
    try:
        return getattr(import_module(_LEARN[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "blemish":
            raise
        raise _MissingExtraError.of(error) from error
