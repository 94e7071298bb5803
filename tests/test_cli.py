"""The command line in-process: what it prints, what it writes, how it exits."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from blemish.cli import app
from blemish.errors import BlemishError
from blemish.images import write_image

COMMANDS = ("fit", "enroll", "calibrate", "inspect", "evaluate", "reproduce", "demo")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, BlemishError)):
        raise result.exception
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("blemish 0.")


def test_fit_writes_a_model_file_and_removes_its_checkpoint(category_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "a new folder" / "part ü.blemish"
    result = run("fit", category_dir, "-o", output, "--side", 128, "--epochs", 1, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["category"] == "brushed metal"
    assert [path.name for path in output.parent.iterdir()] == ["part ü.blemish"]


def test_inspect_exits_0_for_good_1_for_defective_2_for_unreadable(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    good, stained = category_dir / "test" / "good" / "000.png", category_dir / "test" / "stain" / "000.png"
    run("calibrate", model_path, category_dir / "test" / "good", "--alpha", 0.05, "-o", tmp_path / "m.blemish")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert run("inspect", tmp_path / "m.blemish", good).exit_code == 0
    assert run("inspect", tmp_path / "m.blemish", good, stained).exit_code == 1
    assert run("inspect", tmp_path / "m.blemish", good, broken, stained).exit_code == 2


def test_inspect_goes_on_after_a_broken_file_and_writes_everything(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "new parts", tmp_path / "out"
    for index in range(2):
        write_image(folder / f"{index}.png", np.full((70, 60), index * 0.5, dtype=np.float32))
    (folder / "0 broken.jpg").write_bytes(b"no image")
    result = run("inspect", model_path, folder, category_dir / "test" / "stain", "-o", out, "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(records) == 3 + 6
    assert sum(record["verdict"] == "error" for record in records) == 1
    assert len((out / "results.jsonl").read_text().splitlines()) == 9
    assert len(list((out / "overlays").iterdir())) == 8
    assert (out / "report.html").exists()


def test_enroll_and_evaluate(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    enrolled = tmp_path / "other.blemish"
    good = category_dir / "train" / "good"
    assert run("enroll", good, "--network", model_path, "-o", enrolled).exit_code == 0
    result = run("evaluate", enrolled, category_dir, "-o", tmp_path / "out", "--json")
    found = json.loads(result.stdout)
    assert (found["n_good"], found["n_seen"], found["n_masks"]) == (8, 16, 6)
    assert [row["defect_type"] for row in found["types"]] == ["stain", "all"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.html", "evaluation.json", "scores.csv"}


def test_calibrate_writes_in_place_by_default(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "copy.blemish"
    model.write_bytes(model_path.read_bytes())
    found = json.loads(run("calibrate", model, category_dir / "test" / "good", "--alpha", 0.2, "--json").stdout)
    assert found["threshold"]["n_images"] == 8
    assert len(found["history"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "no.blemish", "no.png"),
        ("fit", "no-folder", "-o", "x.blemish"),
        ("fit", ".", "-o", "."),
        ("evaluate", "no.blemish", "."),
        ("reproduce", ".", "-o", "out"),
    ],
)
def test_mistakes_end_in_an_error_of_ours(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, BlemishError)
    assert result.exit_code != 0


def test_a_model_that_saw_a_defective_image_is_not_judged_on_it(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    for source in [*(category_dir / "test" / "good").iterdir(), category_dir / "test" / "stain" / "003.png"]:
        mixed.mkdir(exist_ok=True)
        (mixed / f"{source.parent.name}-{source.name}").write_bytes(source.read_bytes())
    assert run("enroll", mixed, "--network", model_path, "-o", tmp_path / "m.blemish").exit_code == 0
    result = run("evaluate", tmp_path / "m.blemish", category_dir)
    assert isinstance(result.exception, BlemishError)
    assert "003.png" in str(result.exception)


@pytest.mark.parametrize("wrong", [("--alpha", "5"), ("--seed", "-1"), ("--side", "100"), ("--prototype", "none")])
def test_wrong_settings_are_refused_before_any_work(category_dir: Path, tmp_path: Path, wrong: tuple[str, str]) -> None:
    result = run("fit", category_dir, "-o", tmp_path / "m.blemish", *wrong)
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_the_masks_of_a_category_are_not_inspected(model_path: Path, category_dir: Path) -> None:
    records = run("inspect", model_path, category_dir, "--json").stdout.splitlines()
    assert len(records) == 16 + 8 + 6


def test_output_into_the_inspected_folder_inspects_each_image_once(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    for path in (category_dir / "test" / "good").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for _ in range(2):
        assert len(run("inspect", model_path, tmp_path, "-o", tmp_path, "--json").stdout.splitlines()) == 8


def test_a_broken_held_out_image_is_named_before_training(category_dir: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted((category_dir / "train" / "good").iterdir())[:5]):
        (tmp_path / "good" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "good" / path.name).write_bytes(path.read_bytes()[: 500 + 100 * index])
    result = run("fit", tmp_path / "good", "-o", tmp_path / "m.blemish")
    assert "cannot be read" in str(result.exception)
    assert not (tmp_path / "m.blemish.checkpoint").exists()
