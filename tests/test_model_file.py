"""A model file comes back as it was written; anything else gets a clear error."""

import json
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from blemish.detection.model_file import FORMAT, Description, Model, read_model, write_model
from blemish.detection.runtime import Runtime
from blemish.errors import ModelFileError, OutputError
from blemish.results import Threshold

MODEL = Model(
    description=Description(
        category="plate ü",
        method="tayeh2020",
        prototype="category",
        side=128,
        patch_size=64,
        stride=2,
        threshold=Threshold(value=0.25, alpha=0.05, promised_alpha=0.1, n_images=9),
        graph_difference=1e-6,
        training={"epochs": 2},
        provenance={"images": {"plate": {"00ff": "learned"}}, "made": {"when": "2026-01-02T03:04:05+00:00"}},
        history=[],
    ),
    graph=b"any bytes: the file does not look inside",
    weights={"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
)

WRONG_PROMISES: dict[str, list[object]] = {
    "alpha": [0, -0.1, 1.1, math.nan, None, "0.01"],
    "promised_alpha": [0, 2, math.inf, []],
    "n_images": [-1, 1.5, True, "9"],
}
WRONG_FIELDS: dict[str, list[object]] = {
    "category": [None, 3, ["plate"]],
    "method": [None],
    "prototype": [None],
    "side": [0, -128, 128.0, "128", None, True, 63, 2**40],
    "patch_size": [0, 64.5, 129, 1],
    "stride": [0, -2, 65, [2]],
    "graph_difference": ["small", math.nan],
    "training": [None, [], "long"],
    "provenance": [
        None,
        [],
        {},
        {"images": {}},
        {"images": [], "made": {}},
        {"images": {"plate": ["00ff"]}, "made": {}},
    ],
    "history": [None, {}, ["calibrate"]],
}


def pairs(values: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(name, value) for name, choices in values.items() for value in choices]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a part.blemish"
    write_model(MODEL, path)
    return path


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, with_sums: bool) -> None:
    """Change parts of the file as an editor of zip archives would; with or without putting the checksums right."""
    import hashlib

    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    if with_sums:
        del parts["SHA256SUMS"]
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts.items())
        parts["SHA256SUMS"] = sums.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def edit_description(**values: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts["model.json"] = json.dumps({**json.loads(parts["model.json"]), **values}).encode()

    return change


def test_round_trip(path: Path) -> None:
    model = read_model(path)
    assert model.description == MODEL.description
    assert model.graph == MODEL.graph
    assert (model.weights["layer.weight"] == MODEL.weights["layer.weight"]).all()


def test_same_model_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.blemish"
    write_model(read_model(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_others_can_read_it(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"model.json", "graph.onnx", "weights.npz", "SHA256SUMS"}
        assert json.loads(archive.read("model.json"))["format"] == FORMAT


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match="not a usable model file"):
        read_model(path)


def test_a_flipped_byte_anywhere_never_passes_unnoticed(path: Path) -> None:
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            model = read_model(path)
        except ModelFileError:
            continue
        # Only bytes that mean nothing, such as a time stamp, may change without being noticed.
        assert model.description == MODEL.description
        assert model.graph == MODEL.graph
        assert (model.weights["layer.weight"] == MODEL.weights["layer.weight"]).all()


@pytest.mark.parametrize("name", ["model.json", "graph.onnx", "weights.npz"])
def test_a_changed_part_is_refused(path: Path, name: str) -> None:
    rewrite(path, lambda parts: parts.update({name: parts[name] + b" "}), with_sums=False)
    with pytest.raises(ModelFileError, match=rf"checksum of {name}"):
        read_model(path)


def test_a_missing_part_is_named(path: Path) -> None:
    rewrite(path, lambda parts: parts.__delitem__("graph.onnx"), with_sums=True)
    with pytest.raises(ModelFileError, match=r"lacks graph\.onnx"):
        read_model(path)


def test_a_newer_format_asks_for_an_update(path: Path) -> None:
    rewrite(path, edit_description(format=FORMAT + 1), with_sums=True)
    with pytest.raises(ModelFileError, match=r"Update Blemish"):
        read_model(path)


@pytest.mark.parametrize("values", [{"threshold": 3}, {"threshold": {"value": 1}}, {"format": "one"}])
def test_a_description_that_does_not_fit_is_refused(path: Path, values: dict[str, object]) -> None:
    rewrite(path, edit_description(**values), with_sums=True)
    with pytest.raises(ModelFileError):
        read_model(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.5", True, [0.5], 10**400])
def test_a_threshold_that_would_pass_everything_is_refused(path: Path, value: object) -> None:
    threshold = {**asdict(MODEL.description.threshold), "value": value}
    rewrite(path, edit_description(threshold=threshold), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_PROMISES))
def test_a_promise_that_makes_no_sense_is_refused(path: Path, name: str, value: object) -> None:
    threshold = {**asdict(MODEL.description.threshold), name: value}
    rewrite(path, edit_description(threshold=threshold), with_sums=True)
    with pytest.raises(ModelFileError, match=f"threshold.{name}"):
        read_model(path)


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_FIELDS))
def test_a_field_of_the_wrong_kind_is_refused(path: Path, name: str, value: object) -> None:
    rewrite(path, edit_description(**{name: value}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


def test_a_description_nested_too_deeply_is_refused(path: Path) -> None:
    rewrite(path, lambda parts: parts.update({"model.json": b"[" * 100_000}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


def test_unknown_fields_are_ignored(path: Path) -> None:
    threshold = {**asdict(MODEL.description.threshold), "colour": "red"}
    rewrite(path, edit_description(threshold=threshold, maker="someone"), with_sums=True)
    assert read_model(path).description == MODEL.description


def test_a_category_whose_name_is_not_valid_unicode_comes_back(path: Path) -> None:
    name = os.fsdecode(b"plate \xff")
    write_model(replace(MODEL, description=replace(MODEL.description, category=name)), path)
    assert read_model(path).description.category == name


@pytest.mark.parametrize("data", [b"", b"PK", b"\x89PNG\r\n\x1a\n", b"import os"])
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "foreign.blemish"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="not a usable model file"):
        read_model(path)


def test_pickles_are_not_loaded(path: Path) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, bad=np.array([print], dtype=object))
    rewrite(path, lambda parts: parts.update({"weights.npz": buffer.getvalue()}), with_sums=True)
    with pytest.raises(ModelFileError, match="weights cannot be read"):
        read_model(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no model file"):
        read_model(tmp_path / "none.blemish")
    with pytest.raises(ModelFileError, match="cannot be opened"):
        read_model(tmp_path)


def test_a_failed_write_keeps_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OutputError, match="No space left"):
        write_model(MODEL, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# --- the graph ---------------------------------------------------------------------------------------------------


def make_graph(factor: float = 1, renamed: str = "") -> bytes:
    """Write a graph whose distances are 4 x 4 pixels times a factor; one of its tensors may have another name."""
    pixels, distance_map, maximum, mean = (
        "other" if name == renamed else name for name in ("pixels", "distance_map", "max_distance", "mean_distance")
    )

    def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Mul", [pixels, "factors"], ["scaled"]),
            helper.make_node("Squeeze", ["scaled", "one"], [distance_map]),
            helper.make_node("ReduceMax", [distance_map, "map_axes"], [maximum], keepdims=0),
            helper.make_node("ReduceMean", [distance_map, "map_axes"], [mean], keepdims=0),
        ],
        "graph",
        [tensor(pixels, "B", 1, "H", "W")],
        [tensor(distance_map, "B", "h", "w"), tensor(maximum, "B"), tensor(mean, "B")],
        [
            helper.make_tensor("factors", TensorProto.FLOAT, [4, 4], [factor] * 16),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("map_axes", TensorProto.INT64, [2], [1, 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def test_a_graph_gives_its_distances() -> None:
    image = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    found = Runtime(make_graph(factor=2)).run(image)
    assert (found.distance_map == 2 * image).all()
    assert (found.max_distance, found.mean_distance) == pytest.approx((2, 1))


@pytest.mark.parametrize("name", ["pixels", "distance_map", "max_distance", "mean_distance"])
def test_a_graph_with_other_inputs_or_outputs_is_refused_at_once(name: str) -> None:
    with pytest.raises(ModelFileError, match="has inputs"):
        Runtime(make_graph(renamed=name))


def test_an_image_that_does_not_fit_the_graph_is_a_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match="5 x 6 pixels"):
        Runtime(make_graph()).run(np.zeros((5, 6), dtype=np.float32))
    assert capfd.readouterr() == ("", "")


def test_bytes_that_are_no_graph_are_a_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        Runtime(MODEL.graph)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_distances_that_are_not_finite_pass_no_part(factor: float) -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        Runtime(make_graph(factor=factor)).run(np.ones((4, 4), dtype=np.float32))
