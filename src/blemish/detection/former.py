"""Graphs that a model file had before: a change of the graph can be taken back where PyTorch is not installed.

They are compressed together, so that each costs little more than what sets it apart from the others.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from dataclasses import replace

import numpy as np

from blemish.detection.model_file import MOST_BYTES, Description, Model, read_arrays
from blemish.errors import ModelFileError


def digest(graph: bytes) -> str:
    """Name a graph: its SHA-256."""
    return hashlib.sha256(graph).hexdigest()


def with_graph(model: Model, description: Description, graph: bytes) -> Model:
    """Put another graph into a model and keep the one it has; the description names the new one."""
    former = {**_unpack(model.former), digest(model.graph): model.graph}
    former.pop(digest(graph), None)
    return replace(model, description=description, graph=graph, former=_pack(former))


def restored(model: Model, description: Description) -> Model:
    """Give a model another description, and the graph that goes with it.

    Raises:
        ModelFileError: the model does not keep that graph.
    """
    if description.graph in (model.description.graph, digest(model.graph)):
        return replace(model, description=description)
    graph = _unpack(model.former).get(description.graph)
    if graph is None:
        raise ModelFileError(
            "The model file does not keep the graph that it had before. Make it anew, or copy it again."
        )
    return with_graph(model, description, graph)


def _pack(graphs: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **{name: np.frombuffer(graph, np.uint8) for name, graph in graphs.items()})  # type: ignore[arg-type]
    return lzma.compress(packed.getvalue())


def _unpack(data: bytes | None) -> dict[str, bytes]:
    if data is None:
        return {}
    try:
        graphs = read_arrays(lzma.LZMADecompressor().decompress(data, MOST_BYTES))
        return {name: graph.tobytes() for name, graph in graphs.items()}
    except Exception as error:  # whatever foreign bytes make lzma and numpy raise
        raise ModelFileError(
            f"The former graphs in the model file cannot be read ({error}). Copy the file again."
        ) from error
