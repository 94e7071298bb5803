"""Figures of a benchmark, as a file that others can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blemish.images import write_text


def write_figures(figures: dict[str, Any], path: Path | None) -> None:
    """Write figures as JSON, where a file was asked for (``--json``)."""
    if path is not None:
        write_text(path, json.dumps(figures, indent=2) + "\n")
