"""`verify` agrees where the model decides as it was made to, and says where it does not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from blemish.cli import app
from blemish.detection.detector import Detector
from blemish.detection.engines import installed_engines
from blemish.detection.verification import TOLERANCE, Comparison, verify
from blemish.results import Verdict

GOOD, DEFECTIVE = Verdict.GOOD, Verdict.DEFECTIVE


def compared(scores: tuple[float, ...], verdicts: tuple[Verdict, ...], stored: float | None = None) -> Comparison:
    names = [str(n) for n in range(len(scores))]
    return Comparison(Path("a.png"), dict(zip(names, scores)), dict(zip(names, verdicts)), stored)  # noqa: B905


@pytest.mark.parametrize(
    ("comparison", "agrees"),
    [
        (compared((1.0,), (GOOD,)), True),
        (compared((1.0, 1.0 + TOLERANCE / 2), (GOOD, GOOD)), True),
        (compared((1.0, 1.0 + TOLERANCE * 2), (GOOD, GOOD)), False),
        (compared((1.0, 1.0 + TOLERANCE * 2), (GOOD, DEFECTIVE)), False),
        (compared((1000.0, 1000.0 * (1 + TOLERANCE / 2)), (GOOD, GOOD)), True),
        (compared((1.0,), (GOOD,), stored=1.0 - TOLERANCE / 2), True),
        (compared((1.0,), (GOOD,), stored=1.0 - TOLERANCE * 2), False),
    ],
)
def test_close_scores_agree(comparison: Comparison, agrees: bool) -> None:
    assert comparison.agrees is agrees


def test_the_image_that_became_the_threshold_may_lie_on_either_side_of_it() -> None:
    assert compared((1.0, 1.0 + TOLERANCE / 2), (GOOD, DEFECTIVE)).is_on_limit
    assert not compared((1.0, 1.0 + TOLERANCE * 2), (GOOD, DEFECTIVE)).is_on_limit
    assert not compared((1.0, 1.0), (GOOD, GOOD)).is_on_limit


def test_every_installed_engine_is_asked_and_the_stored_score_found(
    nearest_detector: Detector, category_dir: Path
) -> None:
    good = sorted((category_dir / "train" / "good").iterdir())
    found = verify(nearest_detector.model, good)
    assert [each.path for each in found] == good
    assert all(list(each.scores) == installed_engines() for each in found)
    assert all(each.agrees for each in found)
    assert sum(each.stored is not None for each in found) == nearest_detector.threshold.n_images


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *(str(argument) for argument in arguments)])


def test_the_command_exits_0_where_all_agree_and_1_where_not(
    nearest_detector: Detector, category_dir: Path, tmp_path: Path
) -> None:
    nearest_detector.save(tmp_path / "whole.blemish")
    about = nearest_detector.description
    changed = {key: score + 0.01 for key, score in about.good_scores.items()}
    Detector(replace(nearest_detector.model, description=replace(about, good_scores=changed))).save(
        tmp_path / "changed.blemish"
    )
    good = category_dir / "train" / "good"
    whole, other = run(tmp_path / "whole.blemish", good), run(tmp_path / "changed.blemish", good)
    assert (whole.exit_code, other.exit_code) == (0, 1)
    assert len(whole.stdout.splitlines()) == 16
    assert "3 with a stored score" in whole.stderr
    assert other.stdout.count("DIFFERS") == 3


def test_json_says_the_same(model_path: Path, category_dir: Path) -> None:
    result = run(model_path, category_dir / "test" / "stain", "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(record["agrees"], record["stored"]) for record in records] == [(True, None)] * 6
