"""What `evaluate` judges by, and that its words and figures are those of the verdicts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from blemish.datasets import content_hash, read_category
from blemish.detection.detector import Detector
from blemish.errors import DatasetError
from blemish.evaluation import evaluate as module
from blemish.evaluation.evaluate import Evaluation, evaluate
from blemish.evaluation.intervals import auroc_interval, share_interval
from blemish.evaluation.metrics import average_precision, f1_max
from blemish.evaluation.page import write_evaluation
from blemish.images import write_image


@pytest.fixture(scope="module")
def found(detector: Detector, category_dir: Path) -> Evaluation:
    return evaluate(detector, category_dir)


def scores_of(found: Evaluation) -> tuple[list[float], list[float]]:
    good = [sample.score for sample in found.samples if sample.defect_type == "good"]
    return good, [sample.score for sample in found.samples if sample.defect_type != "good"]


def test_every_type_has_the_figures_of_its_scores(found: Evaluation) -> None:
    for result in found.types:  # one type and all of them, which here are the same images
        assert result.auroc_interval == auroc_interval(*scores_of(found))
        assert result.average_precision == average_precision(*scores_of(found))
        assert result.missed_interval == share_interval(result.missed, result.n_images)


def test_the_whole_has_the_figures_of_its_scores(found: Evaluation) -> None:
    assert found.f1_max == f1_max(*scores_of(found))
    assert found.false_alarm_interval == share_interval(found.false_alarms, found.n_good)


def test_f1_max_is_said_to_be_an_oracle(found: Evaluation) -> None:
    (sentence,) = (said for said in found.sentences() if "F1" in said)
    assert "chosen on the test images: an upper bound, not a promise" in sentence


def test_every_interval_is_in_the_json_and_on_the_page(found: Evaluation, tmp_path: Path) -> None:
    page = write_evaluation(found, tmp_path).read_text()
    written = json.loads((tmp_path / "evaluation.json").read_text())
    for interval, shown in (
        (written["types"][0]["auroc_interval"], str(found.types[0].auroc_interval)),
        (written["types"][0]["missed_interval"], found.types[0].missed_interval.as_percent()),
        (written["false_alarm_interval"], found.false_alarm_interval.as_percent()),
    ):
        assert interval["low"] < interval["high"]
        assert shown in page


def test_copies_are_judged_once(detector: Detector, found: Evaluation, category_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "brushed metal"
    shutil.copytree(category_dir, folder)
    for name in ("good/000.png", "stain/000.png"):
        shutil.copy(folder / "test" / name, (folder / "test" / name).with_name("copy.png"))
    again = evaluate(detector, folder)
    assert again.n_copies == 2
    assert any("2 images were left out, because they are copies" in said for said in again.sentences())
    assert again.types == found.types
    assert (again.n_good, again.false_alarms) == (found.n_good, found.false_alarms)


def test_every_file_is_hashed_once(detector: Detector, category_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = list[Path]()
    monkeypatch.setattr(module, "content_hash", lambda path: hashed.append(path) or content_hash(path))
    evaluate(detector, category_dir)
    assert sorted(hashed) == sorted(sample.path for sample in read_category(category_dir))


def test_one_image_cannot_be_both_good_and_defective(detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    lines = [f"{path},{path.parent.name},test" for path in sorted((category_dir / "test").rglob("*.png"))]
    shutil.copy(category_dir / "test" / "good" / "000.png", tmp_path / "same.png")
    listed.write_text("\n".join(["path,defect_type,split", *lines, "same.png,stain,test"]))
    with pytest.raises(DatasetError, match=r"000\.png' is listed as good, and '.*same\.png' as stain"):
        evaluate(detector, listed)


def test_a_mask_of_another_size_is_named(detector: Detector, category_dir: Path, tmp_path: Path) -> None:
    stain = next((category_dir / "test" / "stain").glob("*.png"))
    good = category_dir / "test" / "good" / "000.png"
    write_image(tmp_path / "mask.png", np.ones((7, 9), dtype=np.float32))
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,defect_type,split,mask\n{good},good,test,\n{stain},stain,test,mask.png\n")
    with pytest.raises(DatasetError, match=r"mask\.png' has 7 x 9 pixels, its image '.*000\.png' 160 x 150"):
        evaluate(detector, listed)
