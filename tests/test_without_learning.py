"""Inspecting needs nothing of the learning half: here its packages are hidden, as where they are not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from blemish.detection.detector import Detector

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "sklearn", "scipy", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", HIDE + code, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("made", ["detector", "nearest_detector"])
def test_the_library_inspects(made: str, request: pytest.FixtureRequest, category_dir: Path, tmp_path: Path) -> None:
    detector: Detector = request.getfixturevalue(made)
    detector.save(tmp_path / "m.blemish")
    code = "import blemish; print(blemish.Detector.load(sys.argv[1]).inspect(sys.argv[2]).verdict)"
    result = run(code, tmp_path / "m.blemish", category_dir / "test" / "stain" / "000.png")
    assert (result.stdout, result.stderr) == ("defective\n", "")


def test_the_command_line_inspects_and_calibrates(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    main = "from blemish.cli import main; main()"
    good = category_dir / "test" / "good"
    assert run(main, "calibrate", model_path, good, "-o", tmp_path / "m.blemish").returncode == 0
    result = run(main, "inspect", tmp_path / "m.blemish", good, "-o", tmp_path / "out")
    assert result.returncode in (0, 1), result.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_learning_says_what_to_install(category_dir: Path, tmp_path: Path) -> None:
    result = run("from blemish.cli import main; main()", "fit", category_dir, "-o", tmp_path / "m.blemish")
    assert result.returncode == 2
    assert "pip install 'blemish[learn]'" in result.stderr
    assert "Traceback" not in result.stderr
