"""The libraries that can run an ONNX graph on this machine: ONNX Runtime, which is always there, and OpenVINO.

In comes the graph of a model file, out comes a function that runs it. Both are told to compute in float32: OpenVINO
would take bfloat16 where the processor has it, ONNX Runtime TF32 where the GPU does, and scores would no longer be
those that the threshold was set on.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MissingExtraError, SettingError
from blemish.parallel import n_cores

DEFAULT: Final = "onnxruntime"
FLOAT32: Final = "float32"  # what a network computes in
INT8: Final = "int8"  # in 8-bit integers, most of it
Inputs = dict[str, NDArray[np.float32]]  # by name


@dataclass(frozen=True)
class Engine:
    """A loaded graph."""

    inputs: dict[str, int]  # name -> number of axes, of every float32 or int64 tensor
    outputs: dict[str, int]
    run: Callable[[Inputs, list[str]], list[Any]]  # (inputs, names of outputs) -> outputs; any thread


def load_engine(name: str, graph: bytes, threads: int | None) -> Engine:
    """Load a graph into one of ``ENGINES``.

    Args:
        name: which library; it must be installed.
        graph: a serialised ONNX model.
        threads: cores that one run uses, where several runs share the machine; None: all, for one run at a time.

    Raises:
        SettingError: there is no such engine. MissingExtraError: it is not installed. Whatever the library raises about
        a graph that it cannot load.
    """
    if name not in ENGINES:
        raise SettingError(f"runtime is '{name}'; expected one of {', '.join(ENGINES)}.")
    try:
        return ENGINES[name](graph, threads)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error, extra=name) from error


def installed_engines(precision: str = FLOAT32) -> list[str]:
    """Name the engines that can be used here, the default first; for a network of `INT8` the default alone.

    Libraries round 8-bit networks in their own ways, and only by the default it was checked that verdicts hold.
    """
    return [name for name in ENGINES if find_spec(name) is not None and (precision == FLOAT32 or name == DEFAULT)]


def _load_onnxruntime(graph: bytes, threads: int | None) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0 is ONNX Runtime's word for all
    options.enable_mem_pattern = False  # it keeps a second block of memory for all that a run needs, and saves no time
    options.log_severity_level = 4  # what goes wrong is raised; it need not go to the user's terminal as well
    on_gpu = [("CUDAExecutionProvider", {"use_tf32": "0"})]
    providers = [each for each in on_gpu if each[0] in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(graph, options, providers=[*providers, "CPUExecutionProvider"])

    def axes(tensors: list[Any]) -> dict[str, int]:
        return {
            tensor.name: len(tensor.shape) for tensor in tensors if tensor.type in ("tensor(float)", "tensor(int64)")
        }

    return Engine(
        inputs=axes(session.get_inputs()),
        outputs=axes(session.get_outputs()),
        run=lambda inputs, names: list(session.run(names, inputs)),
    )


def _load_openvino(graph: bytes, threads: int | None) -> Engine:
    import openvino

    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:  # it counts the threads of all runs together, and how many runs go at once
        settings |= {"INFERENCE_NUM_THREADS": n_cores(), "NUM_STREAMS": max(n_cores() // threads, 1)}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings)

    def axes(ports: list[Any]) -> dict[str, int]:
        return {
            port.get_any_name(): len(port.get_partial_shape())
            for port in ports
            if port.get_element_type() in (openvino.Type.f32, openvino.Type.i64)
        }

    def run(inputs: Inputs, names: list[str]) -> list[Any]:
        found = compiled.create_infer_request().infer(inputs)  # a request serves one thread
        return [found[name] for name in names]

    return Engine(inputs=axes(compiled.inputs), outputs=axes(compiled.outputs), run=run)


ENGINES: Final[dict[str, Callable[[bytes, int | None], Engine]]] = {  # by the name of the module
    DEFAULT: _load_onnxruntime,
    "openvino": _load_openvino,
}
