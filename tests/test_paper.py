"""The paper's numbers agree with themselves, and the table of defect types with its columns."""

from __future__ import annotations

from statistics import fmean

import pytest

from blemish.evaluation.paper import (
    DEFECT_TYPES,
    PAPER_DEFECT_TYPES,
    PAPER_KNOWN,
    PAPER_UNKNOWN,
    PUBLISHED,
    LeftOut,
    group_as_paper,
    paper_defect_type,
)
from blemish.evaluation.protocols import ScoredSample

TOLERANCE = 0.001
PAPER_CATEGORIES = (*PAPER_KNOWN, *PAPER_UNKNOWN)
each_table = pytest.mark.parametrize("table", PUBLISHED.values(), ids=PUBLISHED.keys())


def column(table, defect_type):
    return [row[defect_type] for row in table.cells.values() if defect_type in row]


# --- the split and the defect types


def test_the_split_is_11_known_and_4_unknown_categories():
    assert (len(PAPER_KNOWN), len(PAPER_UNKNOWN), len(set(PAPER_CATEGORIES))) == (11, 4, 15)


def test_there_are_20_defect_types():
    assert len(set(PAPER_DEFECT_TYPES)) == len(PAPER_DEFECT_TYPES) == 20


def test_the_table_has_the_15_categories_and_73_defect_folders_of_mvtec_ad():
    assert set(DEFECT_TYPES) == set(PAPER_CATEGORIES)
    assert sum(len(folders) for folders in DEFECT_TYPES.values()) == 73


@each_table
@pytest.mark.parametrize("category", PAPER_CATEGORIES)
def test_a_category_has_the_defect_types_whose_cells_are_filled(category, table):
    mapped = {name for name in DEFECT_TYPES[category].values() if not isinstance(name, LeftOut)}
    assert mapped == set(table.cells[category])


def test_every_folder_named_color_is_left_out():
    for category, folders in DEFECT_TYPES.items():
        assert "color" not in folders or paper_defect_type(category, "color") is None


def test_every_folder_left_out_has_a_reason():
    left_out = [name for folders in DEFECT_TYPES.values() for name in folders.values() if isinstance(name, LeftOut)]
    assert len(left_out) == 8
    assert all(item.reason for item in left_out)


def test_other_categories_and_other_folders_keep_their_names():
    assert paper_defect_type("commutator", "defect") == "defect"
    assert paper_defect_type("transistor", "defect") == "defect"
    assert paper_defect_type("my_part", "color") == "color"


def test_samples_are_renamed_or_left_out_and_good_ones_stay():
    folders = ["good", "broken_teeth", "split_teeth", "rough"]
    samples = [ScoredSample(f"{name}.png", "zipper", name, 1.0, 1.0, 0.5) for name in folders]
    samples += [ScoredSample("color.png", "wood", "color", 1.0, 1.0, 0.5)]
    grouped = [(sample.path, sample.defect_type) for sample in group_as_paper(samples)]
    expected = ["good", "broken", "broken", "rough"]
    assert grouped == [(f"{name}.png", kind) for name, kind in zip(folders, expected, strict=True)]


# --- the printed tables


@each_table
def test_the_printed_tables_have_59_cells_each_an_auroc(table):
    cells = [value for row in table.cells.values() for value in row.values()]
    assert len(cells) == 59
    assert all(0.5 < value <= 1 for value in cells)


@each_table
@pytest.mark.parametrize("category", PAPER_CATEGORIES)
def test_printed_category_means_are_those_of_their_cells(category, table):
    assert fmean(table.cells[category].values()) == pytest.approx(table.category_means[category], abs=TOLERANCE)


@each_table
@pytest.mark.parametrize("defect_type", PAPER_DEFECT_TYPES)
def test_printed_defect_type_means_are_those_of_their_cells(defect_type, table):
    assert fmean(column(table, defect_type)) == pytest.approx(table.defect_type_means[defect_type], abs=TOLERANCE)


@each_table
def test_the_printed_corner_is_the_mean_of_the_means(table):
    assert fmean(table.defect_type_means.values()) == pytest.approx(table.mean_of_defect_types, abs=TOLERANCE)
    assert fmean(table.category_means.values()) == pytest.approx(table.mean_of_categories, abs=TOLERANCE)


def test_both_tables_fill_the_same_cells():
    staar, proposed = PUBLISHED["staar"].cells, PUBLISHED["proposed"].cells
    assert {name: set(row) for name, row in staar.items()} == {name: set(row) for name, row in proposed.items()}


@each_table
def test_results_carry_every_cell_and_whether_the_category_is_known(table):
    results = table.results()
    assert {(r.category, r.defect_type): r.values for r in results} == {
        (category, name): (value,) for category, row in table.cells.items() for name, value in row.items()
    }
    assert {r.category for r in results if not r.known} == set(PAPER_UNKNOWN)


# --- what the paper says about its tables (sec. V)


def test_three_categories_are_below_090_four_below_095_and_eight_above():
    means = PUBLISHED["proposed"].category_means.values()
    assert sum(mean < 0.90 for mean in means) == 3
    assert sum(0.90 <= mean < 0.95 for mean in means) == 4
    assert sum(mean >= 0.95 for mean in means) == 8


def test_the_proposed_approach_gains_0093_and_0097():
    staar, proposed = PUBLISHED["staar"], PUBLISHED["proposed"]
    assert proposed.mean_of_categories - staar.mean_of_categories == pytest.approx(0.093)
    assert proposed.mean_of_defect_types - staar.mean_of_defect_types == pytest.approx(0.097)


def test_disagreement_two_defect_types_got_worse_though_the_text_says_every_one_got_better():
    staar, proposed = PUBLISHED["staar"].defect_type_means, PUBLISHED["proposed"].defect_type_means
    assert {name for name in PAPER_DEFECT_TYPES if proposed[name] < staar[name]} == {"glue", "liquid"}


def test_disagreement_13_defect_types_reach_095_though_the_text_says_15():
    assert sum(mean >= 0.95 for mean in PUBLISHED["proposed"].defect_type_means.values()) == 13
