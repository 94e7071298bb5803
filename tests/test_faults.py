"""Whatever a user hands us ends in a result or a clear error; and what was there before is still there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish import Detector, fit
from blemish.errors import DatasetError, ImageError, ModelFileError, OutputError
from blemish.images import write_image

resource = pytest.importorskip("resource", reason="only POSIX systems can limit a process's files")


PAPER: dict[str, Any] = {"method": "tayeh2020", "side": 128, "epochs": 1}  # the shortest training of either kind
NEAREST: dict[str, Any] = {"steps": 1}


def blemish(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blemish", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def full_disk() -> None:
    """Let no file grow beyond 20 kB, which is how a disk that fills up looks to a process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def assert_clear(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_full_disk_stops_inspection_with_a_clear_error(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    result = blemish("inspect", model_path, category_dir / "test", "-o", tmp_path / "out", preexec_fn=full_disk)
    assert_clear(result, "out")


def test_a_full_disk_leaves_the_old_model_in_place(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.blemish"
    model.write_bytes(model_path.read_bytes())
    result = blemish("calibrate", model, category_dir / "test" / "good", preexec_fn=full_disk)
    assert_clear(result, "m.blemish")
    assert model.read_bytes() == model_path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["m.blemish"]


def test_no_room_for_prepared_images_is_said_before_training(
    category_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(OutputError, match="TMPDIR"):
        fit(category_dir, **PAPER)
    monkeypatch.setattr("blemish.learning.triplets.tempfile.TemporaryFile", no_room)
    with pytest.raises(OutputError, match="TMPDIR"):
        fit(category_dir, **NEAREST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_training(category_dir: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_clear(blemish("fit", category_dir, "-o", tmp_path / "m.blemish"), "cannot be written")
    tmp_path.chmod(0o700)


def test_a_file_in_place_of_the_output_folder_is_refused_before_training(category_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"keep me")
    assert_clear(blemish("fit", category_dir, "-o", tmp_path / "file" / "m.blemish"), "cannot be written")
    assert (tmp_path / "file").read_bytes() == b"keep me"


def test_a_folder_of_defects_is_not_learned_from(category_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="stain"):
        fit(category_dir / "test" / "stain")


def test_an_empty_folder_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match=r"\.png"):
        fit(tmp_path)


def test_broken_training_images_are_named_and_nothing_is_written(category_dir: Path, tmp_path: Path) -> None:
    for path in (category_dir / "train" / "good").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "005.png").write_bytes((tmp_path / "005.png").read_bytes()[:1000])
    for shortest in (PAPER, NEAREST):
        with pytest.raises(ImageError, match=r"005\.png"):
            fit(tmp_path, **shortest)


@pytest.mark.parametrize(
    "shortest", [PAPER, NEAREST, {**NEAREST, "reference": "location"}], ids=["paper", "nearest", "nearest here"]
)
def test_mixed_sizes_and_kinds_are_learned_from(tmp_path: Path, shortest: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    write_image(tmp_path / "grey small.png", rng.random((40, 50), dtype=np.float32))
    write_image(tmp_path / "tiefe-16-bit-ä.tif", rng.integers(0, 65536, (90, 70), dtype=np.uint16))
    write_image(tmp_path / "colour.jpg", rng.integers(0, 256, (300, 100, 3), dtype=np.uint8))
    write_image(tmp_path / "one colour.bmp", np.full((64, 64), 200, dtype=np.uint8))
    write_image(tmp_path / "a pixel.webp", np.zeros((1, 1), dtype=np.uint8))
    detector = fit(tmp_path, **shortest)
    assert np.isfinite(detector.inspect(tmp_path / "colour.jpg").score)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"not a model"])
def test_a_foreign_model_file_is_refused(category_dir: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.blemish").write_bytes(content)
    with pytest.raises(ModelFileError):
        Detector.load(tmp_path / "m.blemish")
    assert_clear(blemish("inspect", tmp_path / "m.blemish", category_dir / "test"), "m.blemish")


@pytest.mark.parametrize("options", [("--method", "tayeh2020", "--side", 128, "--epochs", 3), ("--steps", 3)])
def test_ctrl_c_while_training_leaves_a_model_and_a_way_to_go_on(
    category_dir: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    code = (
        "import os, signal, sys; from blemish import cli; "
        "cli._Bars.__call__ = lambda self, stage, done, *_: stage == 'training' and done == 2 "
        "and os.kill(os.getpid(), signal.SIGINT); cli.main()"
    )
    arguments = ("fit", category_dir, "-o", tmp_path / "m.blemish", *options)
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Stopped early" in stopped.stderr, stopped.stderr
    assert Detector.load(tmp_path / "m.blemish").description.training["steps"] == 2
    finished = blemish(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert Detector.load(tmp_path / "m.blemish").description.training["steps"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["m.blemish"]
