"""The ``.blemish`` file: everything one category needs for inspection, in one zip that others can read.

    model.json      description: sizes, threshold, how it was trained, on what (hashes), with which versions
    graph.onnx      network + distance to the reference + pooled scores; every verdict comes from it
    weights.npz     the network's weights, for `enroll`
    SHA256SUMS      checksums of the three, in the format of sha256sum

Nothing is pickled and nothing in it is executed on loading. The checksums find damage and careless edits; they are no
signature. Full description: docs/model-file.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ModelFileError
from blemish.images import MAX_PIXELS, write_bytes
from blemish.results import Threshold

FORMAT: Final = 1  # raised when older versions of Blemish could no longer read the file
LEARNED: Final = "learned"  # role of an image in the provenance: the network or the prototype was made from it
HELD_OUT: Final = "held out"  # it only set the threshold
_PARTS: Final = ("model.json", "graph.onnx", "weights.npz")
_SUMS: Final = "SHA256SUMS"
_MAX_PART_BYTES: Final = 2**30  # far above any real model; a zip bomb is refused before it is unpacked
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes, whenever it is written


@dataclass(frozen=True)
class Description:
    """The readable part of a model file, ``model.json``."""

    category: str  # what was learned
    method: str  # "tayeh2020" or "staar2019"
    prototype: str  # "location" or "category"
    side: int  # images are prepared to side x side pixels
    patch_size: int  # prepared pixels a side that one cell of the distance map sees
    stride: int  # prepared pixels from cell to cell
    threshold: Threshold
    graph_difference: float  # largest difference between graph and PyTorch when the file was made
    training: dict[str, Any]  # settings and summary of the training run
    provenance: dict[str, Any]  # {"images": {category: {sha256: role}}, "made": {"when": time, program: version}}
    history: list[dict[str, Any]]  # what changed the threshold, oldest first

    @property
    def seen(self) -> frozenset[str]:
        """Content hashes of all images that the model was made from or that set its threshold."""
        return frozenset(sha for part in self.provenance["images"].values() for sha in part)

    @property
    def learned(self) -> frozenset[str]:
        """Content hashes of the images that network or prototype were made from."""
        images = self.provenance["images"].values()
        return frozenset(sha for part in images for sha, role in part.items() if role == LEARNED)


@dataclass(frozen=True)
class Model:
    """A model file in memory."""

    description: Description
    graph: bytes  # serialised ONNX
    weights: dict[str, NDArray[np.float32]]  # as from `learning.network.network_to_arrays`


def write_model(model: Model, path: Path) -> None:
    """Write a model file, at once or not at all.

    Raises:
        OutputError: the place cannot be written; what was there before is still there.
    """
    description = {"format": FORMAT, **asdict(model.description)}
    arrays = io.BytesIO()
    np.savez(arrays, **model.weights)  # type: ignore[arg-type]
    parts = {
        "model.json": json.dumps(description, indent=2).encode(),
        "graph.onnx": model.graph,
        "weights.npz": arrays.getvalue(),
    }
    parts[_SUMS] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts.items()).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    write_bytes(path, buffer.getvalue())


def read_model(path: Path) -> Model:
    """Read a model file and check all of it.

    Raises:
        ModelFileError: the file is missing, truncated, changed, from a newer version, or no model file at all.
    """
    parts = _read_parts(path)
    description = _read_description(path, parts["model.json"])
    try:
        with np.load(io.BytesIO(parts["weights.npz"]), allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
    except Exception as error:  # whatever foreign bytes make numpy raise
        raise _unusable(path, f"its weights cannot be read ({error})") from error
    return Model(description, parts["graph.onnx"], weights)


def _read_parts(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if not {*_PARTS, _SUMS} <= set(sizes):
                raise _unusable(path, f"it lacks {', '.join(sorted({*_PARTS, _SUMS} - set(sizes)))}")
            if max(sizes[name] for name in (*_PARTS, _SUMS)) > _MAX_PART_BYTES:
                raise _unusable(path, f"it claims {max(sizes.values()):,} bytes for one part")
            parts = {name: archive.read(name) for name in (*_PARTS, _SUMS)}
    except FileNotFoundError:
        raise ModelFileError(f"There is no model file {path}. `blemish fit` makes one.") from None
    except OSError as error:
        raise ModelFileError(f"Model file {path} cannot be opened: {error.strerror}.") from error
    except ModelFileError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files, zlib.error and RuntimeError among them
        raise _unusable(path, f"it is no intact zip archive ({error})") from error
    sums = dict(
        line.split("  ", 1)[::-1] for line in parts.pop(_SUMS).decode(errors="replace").splitlines() if "  " in line
    )
    for name, data in parts.items():
        if sums.get(name) != hashlib.sha256(data).hexdigest():
            raise _unusable(
                path, f"the checksum of {name} does not match: it was changed or damaged after it was written"
            )
    return parts


def _read_description(path: Path, data: bytes) -> Description:
    try:
        values = json.loads(data)
        version = values["format"]
        if not isinstance(version, int) or version > FORMAT:
            raise ModelFileError(
                f"Model file {path} has format {version}; this version of Blemish reads up to {FORMAT}. Update Blemish."
            )
        threshold = Threshold(**_known_fields(Threshold, values["threshold"]))
        description = Description(**{**_known_fields(Description, values), "threshold": threshold})
        _check_sizes(description)
        _check_threshold(threshold)
        _check_records(description)
    except ModelFileError:
        raise
    except Exception as error:  # whatever foreign values make Python raise
        raise _unusable(path, f"its description does not fit ({type(error).__name__}: {error})") from error
    return description


def _known_fields(kind: type[Description | Threshold], values: dict[str, Any]) -> dict[str, Any]:
    return {item.name: values[item.name] for item in fields(kind)}


def _check_sizes(about: Description) -> None:
    for name in ("side", "patch_size", "stride"):
        _require(_is_count(getattr(about, name)), f"{name} is a whole number, 0 or more")
    _require(0 < about.stride <= about.patch_size <= about.side, "0 < stride <= patch_size <= side")
    _require(about.side**2 <= MAX_PIXELS, f"side squared is at most {MAX_PIXELS}")


def _check_threshold(threshold: Threshold) -> None:
    _require(_is_number(threshold.value), "threshold.value is a finite number")
    for name in ("alpha", "promised_alpha"):
        alpha = getattr(threshold, name)
        _require(_is_number(alpha) and 0 < alpha <= 1, f"threshold.{name} is above 0 and at most 1")
    _require(_is_count(threshold.n_images), "threshold.n_images is a whole number, 0 or more")


def _check_records(about: Description) -> None:
    for name in ("category", "method", "prototype"):
        _require(isinstance(getattr(about, name), str), f"{name} is a string")
    _require(_is_number(about.graph_difference), "graph_difference is a finite number")
    _require(isinstance(about.training, dict), "training is an object")
    _require(isinstance(about.provenance["made"], dict), "provenance.made is an object")
    _require(_are_objects(about.provenance["images"].values()), "provenance.images is an object of objects")
    _require(isinstance(about.history, list) and _are_objects(about.history), "history is an array of objects")


def _are_objects(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0  # a bool is an int, but no count


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"expected that {what}")


def _unusable(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is not a usable model file: {reason}. Expected a file made by `blemish fit` or `blemish enroll`; "
        "make it anew or copy it again."
    )
