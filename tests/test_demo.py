"""The demo leaves what it promises; here in small, its pictures are judged by eye."""

from pathlib import Path

import pytest

from blemish import demo
from blemish.datasets import find_categories, read_category
from blemish.detection.detector import Detector


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_N_TRAIN", 6)
        patch.setattr(demo, "_N_TEST", 2)
        patch.setattr(demo, "_N_PER_FLAW", 1)
        patch.setattr(demo, "_STEPS", 1)
        demo.run_demo(folder)
    return folder


def test_at_least_three_surfaces_with_at_least_four_kinds_of_defects(out: Path) -> None:
    folders = find_categories(out / "images")
    assert len(folders) >= 3
    for folder in folders.values():
        samples = read_category(folder)
        assert len({sample.defect_type for sample in samples if not sample.is_good}) >= 4
        assert all(sample.mask_path for sample in samples if not sample.is_good)


def test_a_detector_an_inspection_and_an_evaluation_for_each(out: Path) -> None:
    for name in find_categories(out / "images"):
        assert Detector.load(out / "models" / f"{name}.blemish").description.category == name
        assert (out / "inspection" / name / "report.html").exists()
        assert (out / "evaluation" / name / "evaluation.json").exists()


def test_the_report_tells_of_every_surface(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in find_categories(out / "images"))
