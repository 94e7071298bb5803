"""A model file comes back as it was written; anything else gets a clear error."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.detection.model_file import FORMAT, Description, Model, read_model, write_model
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
        provenance={"images": {"plate": {"00ff": "learned"}}},
        history=[],
    ),
    graph=b"any bytes: the file does not look inside",
    weights={"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
)


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
    rewrite(path, lambda parts: parts.pop("graph.onnx"), with_sums=True)
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
