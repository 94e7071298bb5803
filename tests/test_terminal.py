"""The command line on a real terminal: bars are drawn, results arrive whole, any name can be shown."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")


def on_terminal(*arguments: object, stdout: IO[bytes] | None = None) -> tuple[int, str]:
    """Run a command with stderr on a terminal, and stdout too unless it goes to a file; return what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "blemish", *(str(argument) for argument in arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that nobody writes any more
        pass
    os.close(ours)
    return process.wait(), shown.decode()


def test_results_for_a_file_arrive_there_while_a_bar_is_drawn(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    with (tmp_path / "results.jsonl").open("wb") as file:
        code, shown = on_terminal("inspect", model_path, category_dir / "test" / "stain", "--json", stdout=file)
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert code in (0, 1), shown
    assert [Path(record["path"]).name for record in records] == [f"{index:03}.png" for index in range(6)]
    assert "inspecting" in shown


def test_rows_on_the_terminal_are_whole_beside_the_bar(model_path: Path, category_dir: Path) -> None:
    code, shown = on_terminal("inspect", model_path, category_dir / "test" / "stain")
    assert code in (0, 1), shown
    for index in range(6):
        assert f"  {category_dir / 'test' / 'stain' / f'{index:03}.png'}\r\n" in shown


def test_fit_draws_a_bar_with_the_time_left(category_dir: Path, tmp_path: Path) -> None:
    good = tmp_path / "parts"
    good.mkdir()
    for path in sorted((category_dir / "train" / "good").iterdir())[:5]:
        (good / path.name).write_bytes(path.read_bytes())
    code, shown = on_terminal("fit", good, "-o", tmp_path / "m.blemish", "--steps", 1)
    assert code == 0, shown
    assert (tmp_path / "m.blemish").exists()
    assert "training" in shown
    assert "left" in shown


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_name_without_letters_on_this_terminal_is_shown_in_codes(
    model_path: Path, category_dir: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    image = tmp_path / "表面é.png"
    image.write_bytes((category_dir / "test" / "good" / "000.png").read_bytes())
    command = [sys.executable, "-m", "blemish", "inspect", str(model_path), str(image), *options]
    done = subprocess.run(
        command, capture_output=True, encoding="latin-1", env={**os.environ, "PYTHONIOENCODING": "latin-1"}, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    if options:
        assert json.loads(done.stdout)["path"] == str(image)
    else:
        assert "\\u8868\\u9762é.png" in done.stdout
