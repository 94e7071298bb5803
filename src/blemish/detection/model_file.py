"""The ``.blemish`` file: everything one category needs for inspection, in one zip that others can read.

    model.json      description: sizes, threshold, how it was trained, on what (hashes), with which versions
    graph.onnx      network + distance to the reference + pooled scores; every verdict comes from it
    weights.npz     the network's weights, for `enroll` and `accept`
    patches.npz     what the embeddings of the reference set look like, to explain a verdict; older files have none
    former.xz       graphs that it had before, so that a change of the graph can be undone; most files have none
    SHA256SUMS      checksums of the others, in the format of sha256sum

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
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.detection.engines import FLOAT32, INT8
from blemish.detection.pose import REACH, Turning, picture_of
from blemish.detection.preparation import Preparation
from blemish.detection.zones import from_text
from blemish.errors import ModelFileError
from blemish.images import MAX_PIXELS, write_bytes
from blemish.results import Threshold

FORMAT: Final = 4  # raised when older versions of Blemish could no longer read the file
# Of files that these can read, which would ignore what they do not know:
_GREY_FORMAT: Final = 3  # without `Preparation.coloured`
_UNTURNED_FORMAT: Final = 2  # without `Preparation.turning` too
NEAREST: Final = "nearest"  # our method; all others are the paper's
LEARNED: Final = "learned"  # role of an image in the provenance: the network or the prototype was made from it
HELD_OUT: Final = "held out"  # it only set the threshold
TAUGHT: Final = "defective, learned from"  # the network learned from the defects that are marked on it
LABELLED: Final = "labelled defective"  # it helped to choose the threshold, known to be defective
_PARTS: Final[tuple[str, ...]] = ("model.json", "graph.onnx", "weights.npz")
_MORE_PARTS: Final[tuple[str, ...]] = ("patches.npz", "former.xz")  # which not every file has
_SUMS: Final[str] = "SHA256SUMS"
_LEAST_RANGE: Final = 1e-6  # of grey values; float32 must be able to divide by it
MOST_BYTES: Final = 2**30  # of any archive, unpacked: far above any real model; a zip bomb is refused before it is
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes, whenever it is written


@dataclass(frozen=True)
class Description:
    """The readable part of a model file, ``model.json``."""

    category: str  # what was learned
    method: str  # "nearest", "tayeh2020" or "staar2019"
    reference: str  # "location" or "category": where an image's embeddings are looked for in good ones
    preparation: Preparation  # from image to the pixels that the graph takes
    threshold: Threshold
    good_scores: dict[str, float]  # content hash -> score of every held-out good image that set the threshold
    graph_difference: float  # largest between graph and PyTorch when it was made; of `INT8`: made to a score
    notes: list[str]  # what was chosen for these images, and why, in sentences for the user
    training: dict[str, Any]  # settings and summary of the training run
    provenance: dict[str, Any]  # {"images": {category: {sha256: role}}, "made": {"when": time, program: version}}
    history: list[dict[str, Any]]  # changes after the file was made, oldest first; see `history.changed`
    good_statistics: dict[str, list[float]] = field(default_factory=dict)  # `drift.image_statistics` of these images
    # Content hash -> score by the graph of a good image that set the threshold and is in the reference set too, where
    # `good_scores` has its score by the others alone; to verify by.
    own_scores: dict[str, float] = field(default_factory=dict)
    graph: str = ""  # SHA-256 of the graph, in a file whose graph was changed after it was made; else empty
    precision: str = FLOAT32  # what its network computes in; `INT8` after `learning.quantise`
    ignored: str | None = None  # mask of pixels that do not count, as `zones.to_text` writes it; None: all count

    @property
    def seen(self) -> frozenset[str]:
        """Content hashes of all images that the model was made from or that set its threshold."""
        return frozenset(sha for part in self.provenance["images"].values() for sha in part)

    @property
    def learned(self) -> frozenset[str]:
        """Content hashes of the images that network or prototype were made from, the defective ones among them."""
        return self._with_role(LEARNED) | self.taught

    @property
    def taught(self) -> frozenset[str]:
        """Content hashes of the defective images that the network has learned from as such."""
        return self._with_role(TAUGHT)

    @property
    def labelled(self) -> frozenset[str]:
        """Content hashes of the defective images that helped to choose the threshold."""
        return self._with_role(LABELLED)

    def _with_role(self, wanted: str) -> frozenset[str]:
        images = self.provenance["images"].values()
        return frozenset(sha for part in images for sha, role in part.items() if role == wanted)


@dataclass(frozen=True)
class Model:
    """A model file in memory."""

    description: Description
    graph: bytes  # serialised ONNX
    weights: dict[str, NDArray[Any]]  # as from `learning.network.weights_to_arrays`
    patches: bytes | None = None  # as from `evidence.Patches.to_bytes`; None: not kept
    former: bytes | None = None  # graphs that it had before, as `former` packs them; None: it has the first one

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that its verdicts depend on, and of the rest of the description."""
        return hashlib.sha256(json.dumps(asdict(self.description)).encode() + self.graph).hexdigest()


def write_model(model: Model, path: Path) -> None:
    """Write a model file, at once or not at all.

    Raises:
        OutputError: the place cannot be written; what was there before is still there.
    """
    write_bytes(path, model_to_bytes(model))


def model_to_bytes(model: Model) -> bytes:
    """Make the bytes of a model file."""
    description = {"format": _format(model.description.preparation), **asdict(model.description)}
    arrays = io.BytesIO()
    np.savez(arrays, **model.weights)  # type: ignore[arg-type]
    parts = {
        "model.json": json.dumps(description, indent=2).encode(),
        "graph.onnx": model.graph,
        "weights.npz": arrays.getvalue(),
    }
    parts |= {
        name: data for name, data in (("patches.npz", model.patches), ("former.xz", model.former)) if data is not None
    }
    parts[_SUMS] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts.items()).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _format(preparation: Preparation) -> int:
    """Return the first format that has all that a preparation needs."""
    if preparation.coloured:
        return FORMAT
    return _UNTURNED_FORMAT if preparation.turning is None else _GREY_FORMAT


def read_model(path: Path) -> Model:
    """Read a model file and check all of it.

    Raises:
        ModelFileError: the file is missing, truncated, changed, from a newer version, or no model file at all.
    """
    return _read_model(path, path)


def model_from_bytes(data: bytes, name: str) -> Model:
    """Read the bytes of a model file like `read_model`; errors call it by its name."""
    return _read_model(io.BytesIO(data), Path(name))


def _read_model(source: Path | io.BytesIO, path: Path) -> Model:
    parts = _read_parts(source, path)
    description = _read_description(path, parts["model.json"])
    try:
        weights = read_arrays(parts["weights.npz"])
    except Exception as error:  # whatever foreign bytes make numpy raise
        raise _unusable(path, f"its weights cannot be read ({error})") from error
    return Model(description, parts["graph.onnx"], weights, parts.get("patches.npz"), parts.get("former.xz"))


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read a numpy archive that may be foreign: nothing pickled, and no more than `MOST_BYTES`, unpacked.

    Raises:
        Exception: of any kind, when it is no such archive.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > MOST_BYTES:
        raise ValueError(f"they claim {claimed:,} bytes, unpacked; no more than {MOST_BYTES:,} are read")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _read_parts(source: Path | io.BytesIO, path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(source) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if not {*_PARTS, _SUMS} <= set(sizes):
                raise _unusable(path, f"it lacks {', '.join(sorted({*_PARTS, _SUMS} - set(sizes)))}")
            present = [name for name in (*_PARTS, *_MORE_PARTS, _SUMS) if name in sizes]
            if (claimed := sum(sizes[name] for name in present)) > MOST_BYTES:
                raise _unusable(path, f"it claims {claimed:,} bytes, unpacked; no more than {MOST_BYTES:,} are read")
            parts = {name: archive.read(name) for name in present}
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
        if version < _UNTURNED_FORMAT:
            values = _from_format_1(values)
        return as_description(values)
    except ModelFileError:
        raise
    except Exception as error:  # whatever foreign values make Python raise
        raise _unusable(path, f"its description does not fit ({type(error).__name__}: {error})") from error


def as_description(values: dict[str, Any]) -> Description:
    """Turn plain data, as `dataclasses.asdict` makes it, into a description, and check all of it.

    Raises:
        Exception: of any kind, when it does not fit.
    """
    threshold = _threshold(values["threshold"])
    prepare = _known_fields(Preparation, values["preparation"])
    turning = prepare.get("turning")
    preparation = Preparation(
        **{**prepare, "turning": None if turning is None else Turning(**_known_fields(Turning, turning))}
    )
    known = _known_fields(Description, values)
    description = Description(**{**known, "threshold": threshold, "preparation": preparation})
    _check_preparation(preparation)
    _check_threshold(threshold)
    _check_records(description)
    return description


def _from_format_1(values: dict[str, Any]) -> dict[str, Any]:
    """Say in today's fields what a file of Blemish 0.1 says: squares, each image's own grey range, one prototype."""
    side, patch_size, stride = (values[name] for name in ("side", "patch_size", "stride"))
    _require(_is_count(side), "side is a whole number")  # null would mean the image's own size
    preparation = Preparation.of_squares(side, patch_size, stride)
    return {
        **values,
        "reference": values["prototype"],
        "preparation": asdict(preparation),
        "notes": [],
        "good_scores": {},
    }


def _known_fields(
    kind: type[Description | Preparation | Turning | Threshold], values: dict[str, Any]
) -> dict[str, Any]:
    """Take what a kind of record has; what has a default may be missing, for older files do not have it."""
    return {
        item.name: values[item.name]
        for item in fields(kind)
        if item.name in values or item.default is item.default_factory is MISSING
    }


def _threshold(values: dict[str, Any]) -> Threshold:
    known = _known_fields(Threshold, values)
    lower = known.get("unsure")
    return Threshold(**{**known, "unsure": None if lower is None else _threshold(lower)})


def _check_preparation(about: Preparation) -> None:
    for name in ("patch_size", "stride", "multiple"):
        _require(_is_count(getattr(about, name)) and getattr(about, name) > 0, f"{name} is a whole number above 0")
    _require(about.stride <= about.patch_size, "stride <= patch_size")
    _require(about.multiple <= about.patch_size, "multiple <= patch_size")
    _require(_is_number(about.centre) and 0 < about.centre <= about.patch_size, "0 < centre <= patch_size")
    _require(_is_number(about.scale) and 0 < about.scale <= 1, "scale is above 0 and at most 1")
    _require((about.height is None) == (about.width is None), "height and width are both given or both null")
    if about.height is not None and about.width is not None:
        _require(_is_count(about.height) and _is_count(about.width), "height and width are whole numbers")
        _require(0 < about.height * about.width <= MAX_PIXELS, f"height times width is 1 to {MAX_PIXELS}")
    _require((about.black is None) == (about.white is None), "black and white are both given or both null")
    if about.black is not None and about.white is not None:
        _require(_is_number(about.black) and _is_number(about.white), "black and white are finite numbers")
        _require(about.white - about.black > _LEAST_RANGE, f"white is more than {_LEAST_RANGE} above black")
    _require(type(about.coloured) is bool, "coloured is true or false")
    _require(about.black is not None or not about.coloured, "coloured has black and white")
    if about.turning is not None:
        _require(about.height is not None and about.width is not None, "turning has a height and a width")
        _check_turning(about.turning)


def _check_turning(about: Turning) -> None:
    _require(_is_number(about.first) and 0 <= about.first < 360, "turning.first is 0 to below 360")
    _require(_is_number(about.beyond) and 0 <= about.beyond <= 360, "turning.beyond is 0 to 360")
    _require(_is_number(about.reach) and 0 <= about.reach <= REACH, f"turning.reach is 0 to {REACH}")
    picture_of(about.template)


def _check_threshold(threshold: Threshold) -> None:
    _require(_is_number(threshold.value), "threshold.value is a finite number")
    promised = threshold.promised_alpha
    _require(_is_number(promised) and 0 < promised <= 1, "threshold.promised_alpha is above 0 and at most 1")
    asked = promised if threshold.alpha is None else threshold.alpha
    _require(_is_number(asked) and 0 < asked <= 1, "threshold.alpha is above 0 and at most 1, or null")
    _require(_is_count(threshold.n_images), "threshold.n_images is a whole number, 0 or more")
    if threshold.unsure is not None:
        _require(threshold.unsure.unsure is None, "threshold.unsure has no lower limit of its own")
        _check_threshold(threshold.unsure)
        _require(threshold.unsure.value <= threshold.value, "threshold.unsure.value <= threshold.value")


def _check_records(about: Description) -> None:
    for name in ("category", "method", "reference", "graph"):
        _require(isinstance(getattr(about, name), str), f"{name} is a string")
    _require(_is_number(about.graph_difference), "graph_difference is a finite number")
    _require(
        isinstance(about.notes, list) and all(isinstance(n, str) for n in about.notes), "notes is a list of strings"
    )
    scores = about.good_scores
    _require(isinstance(scores, dict) and all(map(_is_number, scores.values())), "good_scores is an object of numbers")
    own = about.own_scores
    _require(isinstance(own, dict) and all(map(_is_number, own.values())), "own_scores is an object of numbers")
    kept = about.good_statistics
    _require(
        isinstance(kept, dict) and all(isinstance(each, list) and all(map(_is_number, each)) for each in kept.values()),
        "good_statistics is an object of arrays of numbers",
    )
    _require(about.precision in (FLOAT32, INT8), f"precision is {FLOAT32} or {INT8}")
    if about.ignored is not None:
        from_text(about.ignored)
    _require(isinstance(about.training, dict), "training is an object")
    _require(isinstance(about.provenance["made"], dict), "provenance.made is an object")
    _require(_are_objects(about.provenance["images"].values()), "provenance.images is an object of objects")
    _require(isinstance(about.history, list) and all(map(_is_change, about.history)), "history is an array of changes")


def _is_change(entry: Any) -> bool:
    return all(isinstance(entry[name], str) for name in ("when", "what")) and all(
        _is_number(entry[name]) for name in ("from", "to")
    )


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
