"""The universal network that comes with Blemish: trained by us, from scratch, on surfaces that we draw ourselves.

`universal.py` trains it and `benchmarks/universal.py` writes it; docs/universal.md tells what it has learned from.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Any, Final

import numpy as np

from blemish.learning.network import BoundedNetwork, bounded_network

ABOUT: Final = "about"  # name of the array that says, as JSON, how the weights were made


@dataclass(frozen=True)
class Pretrained:
    """A network and where it comes from."""

    network: BoundedNetwork  # in evaluation mode; the caller's own, to be changed at will
    about: dict[str, Any]  # JSON-ready: settings, steps, seed and commit of its training, and the file's SHA-256


def universal_network() -> Pretrained:
    """Read the network that is part of this package."""
    data = resources.files("blemish.learning").joinpath("universal.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop(ABOUT)))
    return Pretrained(bounded_network(arrays), {**about, "sha256": sha256(data).hexdigest()})
