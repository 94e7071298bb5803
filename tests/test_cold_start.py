"""What a command does not need is not loaded: the first verdict waits for every import."""

import subprocess
import sys
from pathlib import Path

import pytest

LEARNING = {"torch", "onnx", "sklearn", "scipy", "matplotlib"}
PAGES_AND_BARS = {"jinja2", "rich"}
INSPECTION = {"numpy", "cv2", "PIL", "onnxruntime"}
MAIN = """
import sys
from blemish.cli import main

try:
    main()
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


def loaded_by(*arguments: object) -> set[str]:
    """Run a command and return the modules that it had loaded when it ended."""
    command = [sys.executable, "-c", MAIN, *(str(argument) for argument in arguments)]
    return set(subprocess.run(command, capture_output=True, text=True, check=False).stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("inspect", "--help"), ("station", "--help"), ("--version",)])
def test_help_loads_nothing_that_inspects(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert "typer" in loaded
    assert loaded & (LEARNING | INSPECTION | {"jinja2"}) == set()


def test_a_verdict_loads_neither_learning_nor_pages_nor_bars(model_path: Path, category_dir: Path) -> None:
    loaded = loaded_by("inspect", model_path, category_dir / "test" / "good" / "000.png")
    assert loaded >= INSPECTION
    assert loaded & (LEARNING | PAGES_AND_BARS) == set()


def test_the_threshold_is_shown_without_learning_pages_and_bars(model_path: Path) -> None:
    assert loaded_by("threshold", model_path) & (LEARNING | PAGES_AND_BARS) == set()


def test_a_report_loads_what_writes_it(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    loaded = loaded_by("inspect", model_path, category_dir / "test" / "good" / "000.png", "-o", tmp_path / "out")
    assert "jinja2" in loaded
    assert loaded & LEARNING == set()
