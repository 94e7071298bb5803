"""The command line in-process: what it prints, what it writes, how it exits."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from blemish import cli
from blemish.cli import app, main
from blemish.detection.detector import Detector
from blemish.detection.engines import ENGINES
from blemish.errors import BlemishError
from blemish.images import write_image
from blemish.learning.fit import METHODS
from blemish.learning.reference import Reference
from blemish.learning.triplets import PAPER_SCALES

PAPER = ("--method", "tayeh2020", "--side", 128, "--epochs", 1)  # the shortest training of either kind
NEAREST = ("--steps", 1)
COMMANDS = (
    *("fit", "enroll", "calibrate", "accept", "threshold", "zones", "quantise", "inspect", "verify"),
    *("defects", "evaluate", "compare", "reproduce", "demo"),
    *("serve", "backup", "station"),
)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, BlemishError)):
        raise result.exception
    return result


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run everything that the command `blemish` does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["blemish", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def press_ctrl_c(self: object, stage: str, done: int, *_: object) -> None:
    """Stand in for the bars: interrupt training and inspecting at the second step."""
    if done == 2 and stage in ("training", "inspecting"):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f" {command} [OPTIONS]" in result.stdout


def test_the_help_describes_every_command_in_a_whole_sentence() -> None:
    listed = run("--help").stdout.partition("Commands:\n")[2].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("..") for line in listed)


def test_the_choices_are_those_of_the_library() -> None:
    assert {each.value for each in cli._Runtime} == {"auto", *ENGINES}
    assert {each.value for each in cli._Method} == set(METHODS)
    assert {each.value for each in cli._Reference} == {"auto", *Reference}
    assert {each.value for each in cli._PaperReference} == set(Reference)
    assert {int(each) for each in cli._Side} == set(PAPER_SCALES)


def test_version() -> None:
    assert run("--version").stdout.startswith("blemish 0.")


@pytest.mark.parametrize("shortest", [PAPER, NEAREST])
def test_fit_writes_a_model_file_and_removes_its_checkpoint(
    category_dir: Path, tmp_path: Path, shortest: tuple[object, ...]
) -> None:
    output = tmp_path / "a new folder" / "part ü.blemish"
    result = run("fit", category_dir, "-o", output, *shortest, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["category"] == "brushed metal"
    assert [path.name for path in output.parent.iterdir()] == ["part ü.blemish"]


@pytest.mark.parametrize("command", ["fit", "enroll"])
def test_what_was_chosen_for_the_images_is_said_before_the_promise(
    nearest_detector: Detector, category_dir: Path, tmp_path: Path, command: str
) -> None:
    nearest_detector.save(tmp_path / "network.blemish")
    options = NEAREST if command == "fit" else ("--network", tmp_path / "network.blemish")
    arguments = (command, category_dir / "train" / "good", "-o", tmp_path / "m.blemish", *options)
    told, as_json = run(*arguments), json.loads(run(*arguments, "--json").stdout)
    (note,) = Detector.load(tmp_path / "m.blemish").description.notes
    assert as_json["notes"] == [note]
    assert told.stderr.index(note) < told.stderr.index("At most 1 in")
    assert note not in told.stdout


def test_the_reference_can_be_chosen(category_dir: Path, tmp_path: Path) -> None:
    result = run("fit", category_dir, "-o", tmp_path / "m.blemish", *NEAREST, "--reference", "location", "--json")
    assert json.loads(result.stdout)["reference"] == "location"


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


def test_inspect_exits_1_for_unsure_and_counts_it(detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    limits = replace(detector.threshold, value=1e9, unsure=replace(detector.threshold, value=-1.0))
    Detector(replace(detector.model, description=replace(detector.description, threshold=limits))).save(tmp_path / "m")
    result = run("inspect", tmp_path / "m", category_dir / "test" / "good" / "000.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "0 good, 1 unsure, 0 defective" in result.stderr
    assert "unsure," in (tmp_path / "out" / "results.csv").read_text()


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


def test_the_runtime_that_was_measured_and_taken_is_named(model_path: Path, category_dir: Path) -> None:
    result = run("inspect", model_path, category_dir / "test" / "good" / "000.png", "--runtime", "auto")
    assert result.exit_code in (0, 1)
    assert "Runtime: o" in result.stderr


def test_enroll_and_evaluate(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    enrolled = tmp_path / "other.blemish"
    good = category_dir / "train" / "good"
    assert run("enroll", good, "--network", model_path, "-o", enrolled).exit_code == 0
    result = run("evaluate", enrolled, category_dir, "-o", tmp_path / "out", "--json")
    found = json.loads(result.stdout)
    assert (found["n_good"], found["n_seen"], found["n_masks"]) == (8, 16, 6)
    assert [row["defect_type"] for row in found["types"]] == ["stain", "all"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.html", "evaluation.json", "scores.csv"}
    header, *rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert header == "path,category,defect_type,score,max_distance,mean_distance"
    assert len(rows) == 8 + 6


def test_defects_are_shown_on_a_sheet(category_dir: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "a new folder" / "sheet.png"
    result = run("defects", category_dir, "-o", sheet)
    assert (result.exit_code, result.stdout) == (0, f"{sheet}\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_calibrate_writes_in_place_by_default(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "copy.blemish"
    model.write_bytes(model_path.read_bytes())
    found = json.loads(run("calibrate", model, category_dir / "test" / "good", "--alpha", 0.2, "--json").stdout)
    assert found["threshold"]["n_images"] == 8
    assert len(found["history"]) == 1


def test_calibrate_with_defective_images_shows_the_costs_and_sets_the_limit(
    model_path: Path, category_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m.blemish"
    arguments = ("calibrate", model_path, category_dir / "test" / "good", "--defective", category_dir, "-o", output)
    told = run(*arguments, "--cost-ratio", 3, "--defect-rate", 0.02)
    assert "What each limit would have cost" in told.stdout
    assert "a miss counts 3, and 2.00% of the parts" in told.stdout
    threshold = Detector.load(output).threshold.value
    found = json.loads(run(*arguments, "--cost-ratio", 3, "--defect-rate", 0.02, "--json").stdout)
    assert found["threshold"]["value"] == found["choice"]["threshold"]["value"] == threshold
    assert found["history"][0]["what"] == "calibrate"


@pytest.mark.parametrize("option", ["--cost-ratio", "--defect-rate"])
def test_costs_without_defective_images_are_refused(model_path: Path, category_dir: Path, option: str) -> None:
    result = run("calibrate", model_path, category_dir / "test" / "good", option, 0.5)
    assert "give those with --defective" in str(result.exception)


def test_defective_images_and_a_lower_limit_do_not_go_together(model_path: Path, category_dir: Path) -> None:
    good = category_dir / "test" / "good"
    result = run("calibrate", model_path, good, "--defective", category_dir, "--unsure", 0.5)
    assert "Leave --unsure out" in str(result.exception)


def test_two_models_are_compared(
    model_path: Path, nearest_detector: Detector, category_dir: Path, tmp_path: Path
) -> None:
    other, page = tmp_path / "other.blemish", tmp_path / "a new folder" / "compare.html"
    nearest_detector.save(other)
    told = run("compare", model_path, other, category_dir, "-o", page)
    assert "AUROC of metal less that of other" in told.stdout
    assert "AUROC of metal less that of other" in page.read_text()
    found = json.loads(run("compare", model_path, other, category_dir, "--json").stdout)
    assert found["names"] == ["metal", "other"]
    assert len(found["images"]) == 8 + 6


def test_the_threshold_is_moved_undone_and_told(model_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "copy.blemish"
    model.write_bytes(model_path.read_bytes())
    before = Detector.load(model).threshold
    assert run("threshold", model, "--set", 9999, "--by", "anna", "--why", "too many alarms").exit_code == 0
    assert Detector.load(model).threshold.value == 9999
    told = run("threshold", model)
    assert "threshold 9999\n" in told.stdout
    assert re.search(r"set .*-> 9999  anna  too many alarms\n", told.stdout)
    assert "1 in 4 good parts" in told.stderr  # none of 3 held-out images lies above it
    assert run("threshold", model, "--undo").exit_code == 0
    assert Detector.load(model).threshold == before
    moved = json.loads(run("threshold", model, "--alpha", 0.5, "--unsure", 0.7, "-o", tmp_path / "m", "--json").stdout)
    assert [change["what"] for change in moved["history"]] == ["set", "undo", "alpha"]
    assert Detector.load(model).threshold == before


@pytest.mark.parametrize(
    "wrong", [("--set", 1, "--undo"), ("--set", 1, "--alpha", 0.1), ("--unsure", 0.1), ("--undo", "--unsure", 0.1)]
)
def test_the_threshold_is_moved_in_one_way_at_a_time(model_path: Path, wrong: tuple[object, ...]) -> None:
    assert "Expected one of" in str(run("threshold", model_path, *wrong).exception)


def test_a_stopped_part_is_accepted_and_that_is_undone(
    nearest_detector: Detector, category_dir: Path, tmp_path: Path
) -> None:
    good = sorted((category_dir / "test" / "good").iterdir())
    # The most unusual one: accepting takes in what is unusual, and leaves a score at what is usual.
    path = max(good, key=lambda each: nearest_detector.inspect(each).score)
    model = tmp_path / "m.blemish"
    nearest_detector.with_threshold(0.97 * nearest_detector.inspect(path).score).save(model)
    result = run("accept", model, path, "--why", "new supplier", "--defective", category_dir / "test" / "stain")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("good")
    assert run("inspect", model, path).exit_code == 0
    assert run("threshold", model, "--undo").exit_code == 0
    assert run("inspect", model, path).exit_code == 1


def test_zones_are_set_and_cleared(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    mask, model = np.zeros((160, 150), dtype=np.uint8), tmp_path / "m.blemish"
    mask[:110] = 255
    write_image(tmp_path / "mask.png", mask)
    zoned = run("zones", model_path, category_dir, "--ignore", tmp_path / "mask.png", "-o", model, "--why", "text")
    assert "3 held-out good images" in zoned.stderr
    assert Detector.load(model).inspect(category_dir / "test" / "stain" / "000.png").anomaly_map[:100].max() == 0
    assert run("zones", model, category_dir, "--clear", "--alpha", 0.2).exit_code == 0
    cleared = Detector.load(model).description
    assert (cleared.ignored, cleared.threshold) == (None, Detector.load(model_path).threshold)
    assert [change["what"] for change in cleared.history] == ["zones", "zones"]


@pytest.mark.parametrize("wrong", [(), ("--clear", "--ignore", "z.png")])
def test_zones_are_set_or_cleared_not_both(model_path: Path, category_dir: Path, wrong: tuple[str, ...]) -> None:
    assert "or else --clear" in str(run("zones", model_path, category_dir, *wrong).exception)


def test_zones_without_good_images_are_refused_with_the_reason(model_path: Path) -> None:
    assert "threshold must be set anew" in str(run("zones", model_path, "--ignore", "z.png").exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "no.blemish", "no.png"),
        ("fit", "no-folder", "-o", "x.blemish"),
        ("fit", ".", "-o", "."),
        ("defects", ".", "-o", "."),
        ("evaluate", "no.blemish", "."),
        ("compare", "no.blemish", "no.blemish", "."),
        ("reproduce", ".", "-o", "out"),
    ],
)
def test_mistakes_end_in_an_error_of_ours(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("blemish: ")
    assert "Traceback" not in said


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


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--alpha", "5"), ("--seed", "-1"), ("--side", "100"), ("--reference", "none"), ("--method", "tayeh")),
        *(
            ("--steps", "0"),
            ("--minutes", "0"),
            ("--minutes", "1", "--steps", "1"),
            ("--epochs", "1"),
            ("--side", "128"),
        ),
        *(("--method", "tayeh2020", "--steps", "1"), ("--method", "staar2019", "--minutes", "1")),
    ],
)
def test_wrong_settings_are_refused_before_any_work(category_dir: Path, tmp_path: Path, wrong: tuple[str, ...]) -> None:
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


@pytest.mark.parametrize("options", [("--method", "tayeh2020", "--side", 128, "--epochs", 3), ("--steps", 3)])
def test_a_stopped_fit_leaves_a_model_but_does_not_succeed(
    category_dir: Path, tmp_path: Path, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli._Bars, "__call__", press_ctrl_c)
    output = tmp_path / "m.blemish"
    result = run("fit", category_dir, "-o", output, *options, "--json")
    assert result.exit_code == 130
    assert "Stopped early" in result.stderr
    assert json.loads(result.stdout)["training"]["interrupted"]
    assert Detector.load(output).description.training["steps"] == 2
    assert output.with_name("m.blemish.checkpoint").exists()


def test_a_stopped_inspection_says_so(
    model_path: Path, category_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli._Bars, "__call__", press_ctrl_c)
    assert run_main(monkeypatch, "inspect", model_path, category_dir / "test" / "good") == 130
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "stopped" in err


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream


def test_nobody_who_reads_what_is_said_is_an_error_and_no_verdict(
    model_path: Path, category_dir: Path, unread: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", unread)
    assert run_main(monkeypatch, "inspect", model_path, category_dir / "test" / "good" / "000.png") == 2


@pytest.mark.parametrize("wrong", [("threshold", "no_file"), ("threshold",), ("no_command",)])
def test_an_error_that_nobody_reads_is_one(
    wrong: tuple[str, ...], unread: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", unread)
    assert run_main(monkeypatch, *wrong) == 2


@pytest.mark.parametrize("name", ["out [bold]", "z[/x]", "a :smile: b"])
def test_names_are_shown_as_they_are(
    model_path: Path,
    category_dir: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = category_dir / "test" / "good" / "000.png"
    assert run_main(monkeypatch, "inspect", model_path, good, "-o", tmp_path / name) in (0, 1)
    assert f"Report: {tmp_path / name / 'report.html'}\n" in capsys.readouterr().err


def test_an_image_that_failed_is_named_once(model_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert run("inspect", model_path, broken).stdout.count(str(broken)) == 1


@pytest.mark.parametrize(("package", "is_of_extra"), [("torch", True), ("sklearn.svm", True), ("jinja2", False)])
def test_only_packages_of_the_extra_are_asked_to_be_installed(
    package: str, is_of_extra: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def miss() -> None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.setattr(cli, "app", miss)
    assert run_main(monkeypatch) == 2
    said = capsys.readouterr().err
    assert ("pip install" in said) is is_of_extra
    assert ("Traceback" in said) is not is_of_extra


@pytest.mark.parametrize(
    ("arguments", "place", "names"),
    [
        (("reproduce", "data"), "blemish.reproduction.page.reproduce", ("report", "aurocs", "tables", "scores")),
        (("demo",), "blemish.demo.run_demo", ("report",)),
    ],
)
def test_pages_are_told_as_json(
    arguments: tuple[str, ...], place: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, lambda *_: tmp_path / "report.html")
    found = json.loads(run(*arguments, "-o", tmp_path, "--json").stdout)
    files = {"report": "report.html", "aurocs": "aurocs.csv", "tables": "tables.md", "scores": "scores.csv"}
    assert found == {name: str(tmp_path / files[name]) for name in names}


def test_a_csv_is_judged_and_inspected_as_its_images_are(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    lines = [f"{path},{path.parent.name},test" for path in sorted((category_dir / "test").rglob("*.png"))]
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(["path,defect_type,split", *lines]))
    assert len(run("inspect", model_path, listed, "--json").stdout.splitlines()) == 8 + 6
    found = json.loads(run("evaluate", model_path, listed, "--json").stdout)
    assert (found["category"], found["n_good"]) == ("list", 8)


def test_a_link_to_a_model_stays_a_link(model_path: Path, category_dir: Path, tmp_path: Path) -> None:
    model, link = tmp_path / "real.blemish", tmp_path / "link.blemish"
    model.write_bytes(model_path.read_bytes())
    link.symlink_to(model)
    run("calibrate", link, category_dir / "test" / "good", "--alpha", 0.2)
    assert link.is_symlink()
    assert len(Detector.load(model).description.history) == 1
