"""The layout of Figures 6 and 7, and how its means are taken."""

from __future__ import annotations

import csv
import io
from statistics import fmean, stdev

import pytest

from blemish.errors import SettingError
from blemish.evaluation.paper import PAPER_DEFECT_TYPES, PAPER_KNOWN, PAPER_UNKNOWN, PUBLISHED
from blemish.evaluation.protocols import ALL, Auroc
from blemish.evaluation.tables import auroc_table, to_csv, to_markdown
from blemish.report.page import Table

TWO_REPEATS = (
    Auroc("bottle", "crack", True, (0.8, 0.6)),
    Auroc("bottle", "hole", True, (1.0, 0.8)),
    Auroc("anvil", "crack", False, (0.5, 0.9)),
)


def cell(table, category, column):
    row = next(row for row in table.rows if row[1] == category)
    return row[table.headers.index(column)]


def test_columns_follow_the_paper_then_the_alphabet_then_all_then_the_mean():
    kinds = ["zebra", ALL, "hole", "blowhole", "crack"]
    table = auroc_table([Auroc("tile", kind, True, (0.9,)) for kind in kinds])
    assert table.headers == ("group", "category", "crack", "hole", "blowhole", "zebra", "all", "mean")


def test_rows_are_known_then_unknown_categories_then_the_mean():
    results = [
        Auroc(name, "crack", known, (0.9,)) for name, known in (("b", False), ("d", True), ("a", False), ("c", True))
    ]
    names = [row[:2] for row in auroc_table(results).rows]
    assert names == [("known", "c"), ("known", "d"), ("unknown", "a"), ("unknown", "b"), ("", "mean")]


def test_every_row_is_as_long_as_the_headers():
    table = auroc_table(TWO_REPEATS)
    assert {len(row) for row in table.rows} == {len(table.headers)}


def test_a_cell_has_mean_and_sample_standard_deviation():
    assert cell(auroc_table(TWO_REPEATS), "bottle", "crack") == f"0.700 ± {stdev((0.8, 0.6)):.3f}"


def test_a_cell_of_one_repeat_has_no_spread():
    assert cell(auroc_table([Auroc("tile", "crack", True, (0.9,))]), "tile", "crack") == "0.900"


def test_a_cell_is_empty_where_a_category_lacks_the_defect_type():
    assert cell(auroc_table(TWO_REPEATS), "anvil", "hole") == ""


def test_row_means_are_taken_within_each_repeat():
    per_repeat = (fmean((0.8, 1.0)), fmean((0.6, 0.8)))
    expected = f"{fmean(per_repeat):.3f} ± {stdev(per_repeat):.3f}"
    assert cell(auroc_table(TWO_REPEATS), "bottle", "mean") == expected


def test_column_means_are_taken_within_each_repeat():
    per_repeat = (fmean((0.8, 0.5)), fmean((0.6, 0.9)))
    expected = f"{fmean(per_repeat):.3f} ± {stdev(per_repeat):.3f}"
    assert cell(auroc_table(TWO_REPEATS), "mean", "crack") == expected


def test_the_corner_has_the_mean_of_defect_types_and_that_of_categories():
    types = (fmean((0.65, 1.0)), fmean((0.75, 0.8)))  # of the column means, per repeat
    categories = (fmean((0.9, 0.5)), fmean((0.7, 0.9)))  # of the row means, per repeat
    expected = " / ".join(f"{fmean(means):.3f} ± {stdev(means):.3f}" for means in (types, categories))
    assert cell(auroc_table(TWO_REPEATS), "mean", "mean") == expected


def test_all_defects_together_enter_no_mean_of_defect_types():
    with_all = auroc_table([*TWO_REPEATS, Auroc("bottle", ALL, True, (0.0, 0.0))])
    assert cell(with_all, "bottle", "mean") == cell(auroc_table(TWO_REPEATS), "bottle", "mean")
    assert cell(with_all, "mean", "mean") == cell(auroc_table(TWO_REPEATS), "mean", "mean")
    assert cell(with_all, "mean", ALL) == "0.000 ± 0.000"


def test_a_table_of_all_alone_has_no_mean_of_defect_types():
    table = auroc_table([Auroc("tile", ALL, True, (0.9,))])
    assert table.rows == (("known", "tile", "0.900", ""), ("", "mean", "0.900", ""))


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_the_papers_cells_give_the_papers_table(published):
    table = auroc_table(published.results())
    assert table.headers == ("group", "category", *PAPER_DEFECT_TYPES, "mean")
    assert [row[1] for row in table.rows] == [*PAPER_KNOWN, *PAPER_UNKNOWN, "mean"]
    for category, mean in published.category_means.items():
        assert float(cell(table, category, "mean")) == pytest.approx(mean, abs=0.0011)
    corner = [float(number) for number in cell(table, "mean", "mean").split(" / ")]
    assert corner == pytest.approx([published.mean_of_defect_types, published.mean_of_categories], abs=0.0011)


def test_no_results_are_refused():
    with pytest.raises(SettingError, match="at least one"):
        auroc_table([])


def test_two_results_for_one_cell_are_refused():
    with pytest.raises(SettingError, match="two results for tile/crack"):
        auroc_table([Auroc("tile", "crack", True, (0.9,))] * 2)


def test_different_numbers_of_repeats_are_refused():
    with pytest.raises(SettingError, match=r"\[1, 2\] repeats"):
        auroc_table([Auroc("tile", "crack", True, (0.9,)), Auroc("tile", "hole", True, (0.9, 0.8))])


def test_csv_holds_the_table_cell_by_cell():
    table = Table(("group", "category", "a,b"), (("known", 'with "quotes"', "0.942 ± 0.010"), ("", "mean", "")))
    assert [tuple(row) for row in csv.reader(io.StringIO(to_csv(table)))] == [table.headers, *table.rows]


def test_markdown_has_a_line_per_row_all_of_one_width():
    table = auroc_table(TWO_REPEATS)
    lines = to_markdown(table).splitlines()
    assert len(lines) == len(table.rows) + 2
    assert len({len(line) for line in lines}) == 1


def test_markdown_escapes_bars_in_names():
    line = to_markdown(Table(("category",), (("a|b",),))).splitlines()[2]
    assert line == r"| a\|b     |"


def test_markdown_puts_names_to_the_left_and_numbers_to_the_right():
    rule = to_markdown(Table(("defect type", "AUROC", "images"), (("crack", "0.9 ± 0.1", "5"),))).splitlines()[1]
    assert rule == "| :---------- | --------: | -----: |"
