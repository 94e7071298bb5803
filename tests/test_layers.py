"""Imports point downwards, and the detection half never meets PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import blemish

ROOT = Path(blemish.__file__).parent
_FOUNDATION = {"errors", "progress", "parallel", "locks", "results", "images", "strips", "datasets"}
# Part -> what of Blemish it may import besides itself. `blemish` itself stands for the version in the package.
MAY_IMPORT = {
    "errors": set(),
    "progress": set(),
    "parallel": set(),
    "locks": set(),
    "results": {"strips"},  # for a type
    "images": _FOUNDATION,
    "strips": _FOUNDATION,
    "datasets": _FOUNDATION,
    "drawing": _FOUNDATION,
    "detection": _FOUNDATION,
    "learning": _FOUNDATION | {"detection", "drawing", ""},
    "report": _FOUNDATION | {"detection"},
    "evaluation": _FOUNDATION | {"detection", "report"},
    "reproduction": _FOUNDATION | {"detection", "learning", "evaluation", "report"},
    "demo": _FOUNDATION | {"detection", "learning", "evaluation", "report", "drawing"},
    "contact_sheet": _FOUNDATION | {"learning"},
    "station": _FOUNDATION | {"detection", "learning", "evaluation", "report", "demo", ""},
    "cli": _FOUNDATION
    | {"detection", "learning", "evaluation", "report", "reproduction", "demo", "contact_sheet", "station", ""},
    "": _FOUNDATION | {"detection", "learning", "evaluation"},
    "__main__": {"cli"},
}
MAY_USE_TORCH = {"learning"}


def imports(file: Path) -> set[str]:
    """Return the dotted names of all modules a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from blemish import cli` imports a part; `from blemish import Detector` a name of the package.
            parts = {f"blemish.{alias.name}" for alias in node.names if alias.name in MAY_IMPORT}
            found |= parts if node.module == "blemish" and parts else {node.module}
    return found


def part_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_downwards(file: Path) -> None:
    part = part_of(".".join(["blemish", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"))
    used = {part_of(module) for module in imports(file) if module.split(".")[0] == "blemish"}
    assert used <= MAY_IMPORT[part] | {part}
    if part not in MAY_USE_TORCH:
        assert not {module for module in imports(file) if module.split(".")[0] in ("torch", "onnx")}


@pytest.mark.parametrize("module", ["blemish", "blemish.cli", "blemish.report.batch"])
def test_importing_never_loads_pytorch(module: str) -> None:
    heavy = ("torch", "onnx", "sklearn", "matplotlib")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
