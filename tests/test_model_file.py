"""A model file comes back as it was written; anything else gets a clear error."""

import io
import json
import lzma
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blemish.detection import model_file
from blemish.detection.detector import Detector
from blemish.detection.evidence import Patches
from blemish.detection.former import restored
from blemish.detection.model_file import (
    FORMAT,
    Description,
    Model,
    model_from_bytes,
    model_to_bytes,
    read_model,
    write_model,
)
from blemish.detection.pose import Turning, picture_to_text
from blemish.detection.preparation import Preparation
from blemish.detection.runtime import Runtime
from blemish.detection.zones import to_text
from blemish.errors import ModelFileError, OutputError
from blemish.results import Threshold

# The two kinds of sizes and of grey ranges: the paper's squares, and an image's own size with one range for all.
SQUARES = Preparation(
    height=128, width=128, scale=1.0, black=None, white=None, multiple=1, patch_size=64, stride=2, centre=32.0
)
OWN_SIZE = Preparation(
    height=None, width=None, scale=0.5, black=-0.1, white=0.9, multiple=4, patch_size=62, stride=4, centre=2.0
)
TURNING = Turning(
    template=picture_to_text(np.eye(64, dtype=np.float32)),
    first=300.0,
    beyond=120.0,
    reach=0.05,
)
TURNED = replace(OWN_SIZE, height=64, width=64, turning=TURNING)
MODEL = Model(
    description=Description(
        category="plate ü",
        method="tayeh2020",
        reference="category",
        preparation=SQUARES,
        threshold=Threshold(value=0.25, alpha=0.05, promised_alpha=0.1, n_images=9),
        good_scores={"ab": 1.25},
        graph_difference=1e-6,
        notes=["Ä note."],
        training={"epochs": 2},
        provenance={"images": {"plate": {"00ff": "learned"}}, "made": {"when": "2026-01-02T03:04:05+00:00"}},
        history=[],
    ),
    graph=b"any bytes: the file does not look inside",
    weights={"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
)

WRONG_PROMISES: dict[str, list[object]] = {
    "alpha": [0, -0.1, 1.1, math.nan, "0.01"],
    "promised_alpha": [0, 2, math.inf, []],
    "n_images": [-1, 1.5, True, "9"],
}
WRONG_FIELDS: dict[str, list[object]] = {
    "category": [None, 3, ["plate"]],
    "method": [None],
    "reference": [None],
    "preparation": [None, [], {}, 128],
    "notes": [None, "a note", [1], {}],
    "good_scores": [None, [], 1.5, {"ab": "1"}, {"ab": math.nan}],
    "graph_difference": ["small", math.nan],
    "training": [None, [], "long"],
    "good_statistics": [None, [], {"brightness": 1.5}, {"brightness": ["1"]}, {"brightness": [math.nan]}],
    "graph": [None, 3],
    "precision": [None, 8, "float16"],
    "ignored": [3, "no base64!", "AAAA", []],
    "provenance": [
        None,
        [],
        {},
        {"images": {}},
        {"images": [], "made": {}},
        {"images": {"plate": ["00ff"]}, "made": {}},
    ],
    "history": [None, {}, ["calibrate"], [{}], [{"when": "now", "what": "set", "from": "1", "to": 2}]],
}
WRONG_PREPARATIONS: dict[str, list[object]] = {
    "height": [0, -128, 128.0, "128", None, True, 2**40],
    "width": [0, -128, 128.0, "128", None, True, 2**40],
    "scale": [0, -0.5, 1.5, "1", None, True, math.nan],
    "black": [0.0, math.nan, "0"],
    "white": [1.0, math.nan, "1"],
    "multiple": [0, -1, 1.5, "1", None, True],
    "patch_size": [0, -64, 64.5, "64", None, True, 1],
    "stride": [0, -2, 2.0, "2", None, True, 65, [2]],
    "centre": [0, -32, "32", None, True, 65, math.nan, math.inf],
}
WRONG_TURNINGS: dict[str, list[object]] = {
    "template": [None, 3, "", "no base64!", "AAAA", to_text(np.ones((16, 16), dtype=bool))],
    "first": [-1, 360, "0", None, math.nan, True],
    "beyond": [-1, 361, "0", None, math.nan],
    "reach": [-0.1, 0.5, "0", None, math.nan],
}
WRONG_RANGES: dict[str, list[object]] = {  # where the size is the image's own, and the grey range one for all
    "height": [128],
    "width": [128],
    "black": [None, 0.9, 1, "0", True, math.nan, -math.inf],
    "white": [None, -0.1, -1, "1", True, math.nan, math.inf],
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


def test_bytes_are_those_of_the_file(path: Path) -> None:
    data = model_to_bytes(MODEL)
    assert data == path.read_bytes()
    assert model_from_bytes(data, "a model").description == MODEL.description
    with pytest.raises(ModelFileError, match="a model"):
        model_from_bytes(data[:-1], "a model")


def test_patches_come_back_and_need_not_be_there(path: Path, tmp_path: Path) -> None:
    assert read_model(path).patches is None
    write_model(replace(MODEL, patches=b"any bytes"), tmp_path / "patches.blemish")
    assert read_model(tmp_path / "patches.blemish").patches == b"any bytes"
    rewrite(tmp_path / "patches.blemish", lambda parts: parts.update({"patches.npz": b"others"}), with_sums=False)
    with pytest.raises(ModelFileError, match=r"checksum of patches\.npz"):
        read_model(tmp_path / "patches.blemish")


def test_same_model_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.blemish"
    write_model(read_model(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_others_can_read_it(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"model.json", "graph.onnx", "weights.npz", "SHA256SUMS"}
        assert json.loads(archive.read("model.json"))["format"] < FORMAT  # so that older versions can read it too


@pytest.mark.parametrize(("preparation", "version"), [(TURNED, 3), (replace(TURNED, coloured=True), FORMAT)])
def test_older_versions_refuse_a_file_of_which_they_would_ignore_something(
    preparation: Preparation, version: int, path: Path
) -> None:
    write_model(replace(MODEL, description=replace(MODEL.description, preparation=preparation)), path)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("model.json"))["format"] == version


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


def test_a_lower_limit_comes_back(path: Path) -> None:
    threshold = replace(MODEL.description.threshold, unsure=replace(MODEL.description.threshold, value=0.125))
    write_model(replace(MODEL, description=replace(MODEL.description, threshold=threshold)), path)
    assert read_model(path).description.threshold == threshold


def test_a_file_without_a_lower_limit_has_none(path: Path) -> None:
    threshold = {name: value for name, value in asdict(MODEL.description.threshold).items() if name != "unsure"}
    rewrite(path, edit_description(threshold=threshold), with_sums=True)
    assert read_model(path).description == MODEL.description


@pytest.mark.parametrize(
    "change", [{"value": 0.5}, {"value": math.nan}, {"alpha": 0}, {"unsure": True}, {"unsure": {}}]
)
def test_a_lower_limit_that_makes_no_sense_is_refused(path: Path, change: dict[str, object]) -> None:
    threshold = asdict(MODEL.description.threshold)
    rewrite(path, edit_description(threshold={**threshold, "unsure": {**threshold, **change}}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_FIELDS))
def test_a_field_of_the_wrong_kind_is_refused(path: Path, name: str, value: object) -> None:
    rewrite(path, edit_description(**{name: value}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


@pytest.mark.parametrize(
    ("preparation", "name", "value"),
    [(SQUARES, *pair) for pair in pairs(WRONG_PREPARATIONS)] + [(OWN_SIZE, *pair) for pair in pairs(WRONG_RANGES)],
)
def test_a_preparation_that_makes_no_sense_is_refused(
    path: Path, preparation: Preparation, name: str, value: object
) -> None:
    rewrite(path, edit_description(preparation={**asdict(preparation), name: value}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_TURNINGS))
def test_a_turning_that_makes_no_sense_is_refused(path: Path, name: str, value: object) -> None:
    turning = {**asdict(TURNING), name: value}
    rewrite(path, edit_description(preparation={**asdict(TURNED), "turning": turning}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


@pytest.mark.parametrize("name", [item.name for item in fields(Preparation) if item.default is MISSING])
def test_a_preparation_that_lacks_a_field_is_refused(path: Path, name: str) -> None:
    rest = {key: value for key, value in asdict(SQUARES).items() if key != name}
    rewrite(path, edit_description(preparation=rest), with_sums=True)
    with pytest.raises(ModelFileError, match=f"does not fit.*{name}"):
        read_model(path)


@pytest.mark.parametrize("preparation", [SQUARES, OWN_SIZE, TURNED])
def test_every_kind_of_preparation_comes_back(path: Path, preparation: Preparation) -> None:
    write_model(replace(MODEL, description=replace(MODEL.description, preparation=preparation)), path)
    assert read_model(path).description.preparation == preparation


def test_a_description_nested_too_deeply_is_refused(path: Path) -> None:
    rewrite(path, lambda parts: parts.update({"model.json": b"[" * 100_000}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(path)


def test_unknown_fields_are_ignored(path: Path) -> None:
    threshold = {**asdict(MODEL.description.threshold), "colour": "red"}
    preparation = {**asdict(SQUARES), "lamp": "left"}
    rewrite(path, edit_description(threshold=threshold, preparation=preparation, maker="someone"), with_sums=True)
    assert read_model(path).description == MODEL.description


@pytest.mark.parametrize("name", ["ignored", "good_statistics", "graph", "precision"])
def test_what_older_files_of_this_format_lack_has_a_default(path: Path, name: str) -> None:
    rewrite(path, lambda parts: parts.update({"model.json": without(parts["model.json"], name)}), with_sums=True)
    assert read_model(path).description == MODEL.description


def without(description: bytes, name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(description).items() if key != name}).encode()


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


def test_a_file_that_claims_too_much_is_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(model_file, "MOST_BYTES", claimed)
    read_model(path)
    monkeypatch.setattr(model_file, "MOST_BYTES", claimed - 1)
    with pytest.raises(ModelFileError, match=f"claims {claimed:,} bytes"):
        read_model(path)


def test_archives_inside_that_claim_too_much_are_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, first=np.zeros(600_000, np.uint8), second=np.zeros(600_000, np.uint8))
    bomb = buffer.getvalue()  # of two kilobytes
    monkeypatch.setattr(model_file, "MOST_BYTES", 1_000_000)
    rewrite(path, lambda parts: parts.update({"weights.npz": bomb}), with_sums=True)
    with pytest.raises(ModelFileError, match="they claim"):
        read_model(path)
    with pytest.raises(ModelFileError, match="they claim"):
        Patches.from_bytes(bomb)
    with pytest.raises(ModelFileError, match="they claim"):
        restored(replace(MODEL, former=lzma.compress(bomb)), replace(MODEL.description, graph="another"))


def test_pickles_are_not_loaded(path: Path) -> None:
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


# --- format 1 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def old_path(detector: Detector, tmp_path: Path) -> Path:
    """The file that Blemish 0.1 wrote for the small detector: other fields, and no score among the graph's outputs."""
    about, prepared = detector.description, detector.description.preparation
    assert prepared.height == prepared.width
    description = {
        "format": 1,
        "category": about.category,
        "method": about.method,
        "prototype": about.reference,
        "side": prepared.height,
        "patch_size": prepared.patch_size,
        "stride": prepared.stride,
        "threshold": asdict(about.threshold),
        "graph_difference": about.graph_difference,
        "training": about.training,
        "provenance": about.provenance,
        "history": about.history,
    }
    graph = onnx.load_from_string(detector.model.graph)
    (node,) = (node for node in graph.graph.node if "score" in node.output)
    (output,) = (output for output in graph.graph.output if output.name == "score")
    (counted,) = (given for given in graph.graph.input if given.name == "counted")
    graph.graph.node.remove(node)
    graph.graph.output.remove(output)
    graph.graph.input.remove(counted)
    graph.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1), np.float32), "counted"))
    path = tmp_path / "old.blemish"
    detector.save(path)
    parts = {"model.json": json.dumps(description).encode(), "graph.onnx": graph.SerializeToString()}
    rewrite(path, lambda written: written.update(parts), with_sums=True)
    return path


def test_a_file_of_format_1_scores_as_before(old_path: Path, detector: Detector, category_dir: Path) -> None:
    old = Detector.load(old_path)
    images = sorted((category_dir / "test").rglob("*.png"))
    assert len(images) == 8 + 6
    found, expected = ([each.inspect(image) for image in images] for each in (old, detector))
    bare = [replace(one, evidence=None) for one in expected]  # it has no scores of good images to compare with
    assert [replace(one, evidence=None) for one in found] == bare


def test_a_file_of_format_1_says_the_same_in_the_fields_of_today(old_path: Path, model_path: Path) -> None:
    old, new = read_model(old_path), read_model(model_path)
    assert old.description == replace(
        new.description, good_scores={}, good_statistics={}
    )  # which format 1 does not have
    assert old.weights.keys() == new.weights.keys()
    assert all((old.weights[name] == array).all() for name, array in new.weights.items())


def test_a_file_of_format_1_takes_no_zones_and_says_so(old_path: Path, category_dir: Path) -> None:
    ignored = np.zeros((160, 150), dtype=bool)
    ignored[:80] = True
    with pytest.raises(ModelFileError, match="had no zones"):
        Detector.load(old_path).with_zones(ignored, sorted((category_dir / "test" / "good").iterdir()), alpha=0.25)


def test_a_file_of_format_1_can_be_calibrated_and_written_anew(
    old_path: Path, tmp_path: Path, category_dir: Path
) -> None:
    good, stained = (category_dir / "test" / name for name in ("good", "stain"))
    calibrated = Detector.load(old_path).calibrate(sorted(good.iterdir()), alpha=0.25)
    calibrated.save(tmp_path / "new.blemish")
    with zipfile.ZipFile(tmp_path / "new.blemish") as archive:
        assert json.loads(archive.read("model.json"))["format"] < FORMAT  # so that older versions can read it too
    new = Detector.load(tmp_path / "new.blemish")
    assert new.inspect(stained / "000.png") == calibrated.inspect(stained / "000.png")


@pytest.mark.parametrize(
    ("name", "value"),
    pairs({"side": [0, None, -128, 128.0, "128", True, 2**40], "patch_size": [0, 64.5, None, 1], "stride": [0, 65]}),
)
def test_a_field_of_format_1_of_the_wrong_kind_is_refused(old_path: Path, name: str, value: object) -> None:
    rewrite(old_path, edit_description(**{name: value}), with_sums=True)
    with pytest.raises(ModelFileError, match="does not fit"):
        read_model(old_path)


# --- the graph ---------------------------------------------------------------------------------------------------


def make_graph(factor: float = 1, renamed: str = "", *, with_score: bool = True) -> bytes:
    """Write a graph whose distances are 4 x 4 pixels times a factor; one of its tensors may have another name.

    Its score is the sum of all distances; graphs of format 1 have none.
    """
    pixels, distance_map, maximum, mean = (
        "other" if name == renamed else name for name in ("pixels", "distance_map", "max_distance", "mean_distance")
    )
    score = ["score"] if with_score else []

    def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Mul", [pixels, "factors"], ["scaled"]),
            helper.make_node("Squeeze", ["scaled", "one"], [distance_map]),
            helper.make_node("ReduceMax", [distance_map, "map_axes"], [maximum], keepdims=0),
            helper.make_node("ReduceMean", [distance_map, "map_axes"], [mean], keepdims=0),
            *(helper.make_node("ReduceSum", [distance_map, "map_axes"], [name], keepdims=0) for name in score),
        ],
        "graph",
        [tensor(pixels, "B", 1, "H", "W")],
        [tensor(distance_map, "B", "h", "w"), *(tensor(name, "B") for name in (maximum, mean, *score))],
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
    assert (found.score, found.max_distance, found.mean_distance) == pytest.approx((16, 2, 1))


def test_without_a_score_of_its_own_the_maximum_is_the_score() -> None:
    image = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    found = Runtime(make_graph(with_score=False)).run(image)
    assert (found.score, found.max_distance, found.mean_distance) == pytest.approx((1, 1, 0.5))


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
