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
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ModelFileError
from blemish.images import write_bytes
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
    provenance: dict[str, Any]  # category -> {sha256: role} of every image used, versions, time
    history: list[dict[str, Any]]  # what changed the threshold, oldest first


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
        "model.json": json.dumps(description, indent=2, ensure_ascii=False).encode(),
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
        version = values.pop("format")
        if not isinstance(version, int) or version > FORMAT:
            raise ModelFileError(
                f"Model file {path} has format {version}; this version of Blemish reads up to {FORMAT}. Update Blemish."
            )
        values["threshold"] = Threshold(**values["threshold"])
        return Description(**{item.name: values[item.name] for item in fields(Description)})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unusable(path, f"its description does not fit ({type(error).__name__}: {error})") from error


def _unusable(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is not a usable model file: {reason}. Expected a file made by `blemish fit` or `blemish enroll`; "
        "make it anew or copy it again."
    )
