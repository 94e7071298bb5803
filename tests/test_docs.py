"""The documents name everything there is, lead somewhere, and say what is true."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import blemish
from blemish.cli import app
from blemish.detection.detector import Detector
from blemish.detection.model_file import Description
from blemish.detection.pose import Turning
from blemish.detection.preparation import Preparation
from blemish.images import read_image, rgb, write_image
from blemish.learning.fit import enroll
from blemish.learning.nearest import NearestSettings
from blemish.learning.training import TrainingSummary
from blemish.learning.triplets import PatchSettings
from blemish.report.earlier import COLUMNS
from blemish.results import Threshold

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOT_COMMAND: Any = typer.main.get_command(app)
ALONE = {name: each for name, each in ROOT_COMMAND.commands.items() if not hasattr(each, "commands")}
LINK = re.compile(r"""\]\(([^)\s]+)|(?:src|href)="([^"]+)""")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section_of(command: str) -> str:
    """Return what docs/commands.md says under the command's heading."""
    return re.split(r"^## ", text_of("docs/commands.md").partition(f"\n## {command}\n")[2], flags=re.MULTILINE)[0]


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} - {
        parameter.name for parameter in command.params
    }


def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, by what is written to call them."""
    for word, each in getattr(command, "commands", {}).items():
        if hasattr(each, "commands"):
            yield from below(f"{name}{word} ", each)
        elif name:
            yield f"{name}{word}", each


GROUPED = dict(below("", ROOT_COMMAND))
COMMANDS = ALONE | GROUPED


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = match[1] or match[2]
            if "://" not in target and not target.startswith(("#", "mailto:")):
                yield page, target.partition("#")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_an_example(name: str) -> None:
    assert f"blemish {name} " in section_of(name.partition(" ")[0])


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_is_named_by_its_command_in_a_group_and_no_other_is(name: str) -> None:
    section = section_of(name.partition(" ")[0])
    row = re.search(rf"^\| `blemish {name} .*` \| .+ \|(.*)\|$", section, flags=re.MULTILINE)
    assert row is not None
    expected = {option for option in options_of(GROUPED[name]) if option.startswith("--")}
    assert set(re.findall(r"`([^`]+)`", row[1])) == expected


@pytest.mark.parametrize("name", ALONE)
def test_every_option_is_named_by_its_command_and_no_other_is(name: str) -> None:
    listed = re.search(r"^Options: (.+)$", section_of(name), flags=re.MULTILINE)
    assert listed is not None
    expected = {option for option in options_of(COMMANDS[name]) if option.startswith("--")}
    assert set(re.findall(r"`([^`]+)`", listed[1])) == expected


def test_every_option_is_explained_and_no_other_is() -> None:
    table = section_of("All options")
    explained = {
        name
        for row in re.findall(r"^\| (`.+?) \|", table, flags=re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    expected = set().union(*(options_of(command) for command in COMMANDS.values()))
    assert explained == expected | {"--version", "--help"}


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_the_csv_is_explained(column: str) -> None:
    assert re.search(rf"^\| .*`{column}`.* \| .+ \|$", section_of("inspect"), flags=re.MULTILINE)


@pytest.mark.parametrize("name", blemish.__all__)
def test_every_public_name_is_in_the_documents(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize(
    "record", [Description, Preparation, Turning, Threshold, PatchSettings, NearestSettings, TrainingSummary]
)
def test_every_field_of_the_model_file_is_explained(record: type) -> None:
    rows = "\n".join(line for line in text_of("docs/model-file.md").splitlines() if line.startswith("|"))
    assert [item.name for item in fields(record) if f"`{item.name}`" not in rows] == []


@pytest.mark.parametrize("with_zones", [False, True])
@pytest.mark.parametrize("made", ["detector", "nearest_detector"])
def test_the_reader_in_the_documents_decides_as_blemish_does(
    made: str, with_zones: bool, request: pytest.FixtureRequest, category_dir: Path, tmp_path: Path
) -> None:
    detector: Detector = request.getfixturevalue(made)
    if with_zones:
        ignored = np.zeros((80, 75), dtype=bool)  # half as large as the images
        ignored[:25, 11:44] = True
        detector = detector.with_zones(ignored, sorted((category_dir / "test" / "good").iterdir()), alpha=0.2)
    model_path = tmp_path / "metal.blemish"
    detector.save(model_path)
    images = [category_dir / "test" / "good" / "000.png", category_dir / "test" / "stain" / "000.png"]
    assert_the_reader_decides_like(detector, model_path, images)


@pytest.mark.parametrize("with_zones", [False, True])
def test_the_reader_in_the_documents_turns_parts_as_blemish_does(
    turned_detector: Detector, turned_images: list[Path], with_zones: bool, tmp_path: Path
) -> None:
    ignored = np.zeros((80, 75), dtype=bool)
    ignored[:25, 11:44] = True
    detector = turned_detector.with_zones(ignored, turned_images[24:], alpha=0.2) if with_zones else turned_detector
    detector.save(tmp_path / "label.blemish")
    assert_the_reader_decides_like(detector, tmp_path / "label.blemish", turned_images[20:28])


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_reader_in_the_documents_sees_colours_as_blemish_does(
    is_turned: bool, category_dir: Path, turned_images: list[Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "coloured").mkdir()
    for path in turned_images if is_turned else sorted(category_dir.glob("train/good/*")):
        grey = read_image(path)
        blue, red = (rng.normal(mean, 0.02, grey.shape).astype(np.float32) for mean in (-0.05, 0.03))
        write_image(tmp_path / "coloured" / path.name, rgb(grey, blue, red))
    images = sorted((tmp_path / "coloured").iterdir())
    detector = enroll(images[:12], alpha=0.2)
    about = detector.description.preparation
    assert about.coloured
    assert (about.turning is not None) == is_turned
    detector.save(tmp_path / "part.blemish")
    assert_the_reader_decides_like(detector, tmp_path / "part.blemish", images[10:14])


def assert_the_reader_decides_like(detector: Detector, model_path: Path, images: list[Path]) -> None:
    code = re.search(r"```python\n(.+?)```", text_of("docs/model-file.md"), flags=re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    for image in images:
        found = detector.inspect(image)
        verdict, score, distance_map = names["inspect"](model_path, image)
        assert verdict == found.verdict
        assert (score, distance_map.max()) == pytest.approx((found.score, found.max_distance), rel=1e-6)


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.mark.parametrize(("page", "target"), list(links()), ids=lambda value: str(getattr(value, "name", value)))
def test_relative_links_lead_to_files(page: Path, target: str) -> None:
    assert (page.parent / target).exists()


def test_every_test_that_shows_a_fault_is_there() -> None:
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text_of("docs/reliability.md"))
    assert len(named) > 30
    assert [name for file, name in named if f"\ndef {name}(" not in text_of(file)] == []


def test_the_changelog_begins_with_this_version_or_what_leads_to_it() -> None:
    changelog = text_of("CHANGELOG.md")
    newest = re.search(r"^## \[(.+?)\] - \d{4}-\d\d-\d\d$", changelog, flags=re.MULTILINE)
    assert newest is not None
    version, is_in_work, _ = blemish.__version__.partition(".dev")
    assert ("\n## [Unreleased]\n" in changelog) == bool(is_in_work)
    numbers, released = (tuple(map(int, each.split("."))) for each in (version, newest[1]))
    assert numbers > released if is_in_work else numbers == released
