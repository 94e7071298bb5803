"""The experiment runs, stops, goes on where it was, and its report holds what the paper shows."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.errors import DatasetError, ImageError, OutputError, SettingError
from blemish.evaluation.protocols import IN_SAMPLE
from blemish.images import write_image
from blemish.reproduction import experiment
from blemish.reproduction.experiment import ReproductionSettings, score_everything
from blemish.reproduction.page import aurocs, reproduce

SETTINGS = ReproductionSettings(known=("leather",), unknown=("woven_fabric",), repeats=2, epochs=1, side=128)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reproduction")
    rng = np.random.default_rng(0)
    for category in ("leather", "woven_fabric"):
        surface = SURFACES[category](rng)
        for part, count in (("train/good", 6), ("test/good", 2)):
            for index in range(count):
                write_image(root / category / part / f"{index}.png", draw_surface(surface, rng, 128, 128))
        for flaw in ("stain", "pit"):
            for index in range(2):
                image, mask = FLAWS[flaw](draw_surface(surface, rng, 128, 128), rng)
                write_image(root / category / "test" / flaw / f"{index}.png", image)
                write_image(root / category / "ground_truth" / flaw / f"{index}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    reproduce(data, SETTINGS, folder)
    return folder


def test_both_methods_both_protocols_all_categories_and_repeats(out: Path) -> None:
    with (out / "aurocs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen = {(row["method"], row["protocol"], row["category"], row["group"], row["defect_type"]) for row in rows}
    for method in ("tayeh2020", "staar2019"):
        for category, group in (("leather", "known"), ("woven_fabric", "unknown")):
            for protocol, types in (("honest", {"stain", "pit", "all"}), ("paper", {"stain", "pit"})):
                assert {key[4] for key in seen if key[:4] == (method, protocol, category, group)} == types
    assert {row["repeat"] for row in rows} == {"0", "1"}


def test_every_score_is_listed_and_is_the_maximum_distance(out: Path) -> None:
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * (4 + 2 + 2)  # methods, repeats, categories; good, stain, pit
    assert all(row["score"] == row["max_distance"] for row in rows)


def test_half_of_the_good_images_is_judged_and_the_repeats_differ(data: Path, out: Path) -> None:
    results = score_everything(data, SETTINGS, out)
    for result in results:
        assert sum(sample.defect_type == "good" for sample in result.samples) == 4  # of 8
    first, second = ({s.path for s in r.samples} for r in results if (r.method, r.category) == ("tayeh2020", "leather"))
    assert first != second


def test_the_baseline_has_one_protocol(data: Path, out: Path) -> None:
    results = score_everything(data, SETTINGS, out)
    honest = [cell for cell in aurocs(results, "staar2019", "honest") if cell.defect_type != "all"]
    assert aurocs(results, "staar2019", "paper") == honest


def test_the_page_shows_tables_and_figures_and_says_what_is_in_sample(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("Figure 1", "Figure 4", "Figure 8", "honest protocol", IN_SAMPLE):
        assert words in page
    assert page.count("data:image/png") == 4 + 2 + 4  # maps, triplets, scatters
    assert IN_SAMPLE in (out / "tables.md").read_text(encoding="utf-8")


def test_a_finished_run_is_not_run_again(data: Path, out: Path) -> None:
    told: list[str] = []
    score_everything(data, SETTINGS, out, lambda stage, done, total, note="": told.append(stage))
    assert told == []


def test_an_interrupted_run_goes_on_to_the_same_scores(data: Path, out: Path, tmp_path: Path) -> None:
    def die(stage: str, done: int, total: int, note: str = "") -> None:
        if "staar2019, repeat 2" in stage and "woven_fabric, scoring" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everything(data, SETTINGS, tmp_path, die)
    told: list[str] = []
    resumed = score_everything(data, SETTINGS, tmp_path, lambda stage, *_: told.append(stage))
    assert {stage.split(":")[0] for stage in told} == {"staar2019, repeat 2 of 2"}
    whole = score_everything(data, SETTINGS, out)
    assert [result.samples for result in resumed] == [result.samples for result in whole]


def test_results_of_other_settings_are_not_mixed(data: Path, out: Path) -> None:
    with pytest.raises(OutputError, match="other settings"):
        score_everything(data, replace(SETTINGS, epochs=2), out)


def test_results_of_other_images_are_not_mixed(data: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    write_image(tmp_path / "data" / "leather" / "train" / "good" / "0.png", np.zeros((128, 128), dtype=np.float32))
    with pytest.raises(OutputError, match="other settings or images"):
        score_everything(tmp_path / "data", SETTINGS, out)


def test_a_category_that_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no category wood(?s:.)*leather, woven_fabric"):
        score_everything(data, replace(SETTINGS, unknown=("wood",)), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"known": ()}, {"repeats": 0}, {"unknown": ("leather",)}),
        *({"epochs": 0}, {"reference": "none"}, {"reference": "auto"}, {"side": 100}, {"alpha": 1.0}, {"seed": -1}),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]


def test_prototypes_are_of_so_many_images_at_most(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "PROTOTYPE_IMAGES", 2)
    results = score_everything(data, replace(SETTINGS, repeats=1), tmp_path)
    assert {result.n_prototype for result in results} == {2}  # of the 3 that are learned from


def test_a_broken_test_image_is_named_before_training(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "woven_fabric" / "test" / "pit" / "1.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"1\.png"):
        score_everything(tmp_path / "data", SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_category_without_defects_is_refused_before_training(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for flaw in ("pit", "stain"):
        shutil.rmtree(tmp_path / "data" / "leather" / "test" / flaw)
    with pytest.raises(DatasetError, match="8 good images and these defect types: none"):
        score_everything(tmp_path / "data", SETTINGS, tmp_path / "out")


@pytest.mark.parametrize("file", ["settings.json", "scores/tayeh2020-0-leather.json"])
def test_a_damaged_file_of_an_earlier_call_is_named(data: Path, out: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "out" / file).write_text('{"repeats": ')
    with pytest.raises(OutputError, match="Delete it"):
        score_everything(data, SETTINGS, tmp_path / "out")
