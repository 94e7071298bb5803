"""Lay AUROCs out as in the paper's Figures 6 and 7: categories down, defect types across, means at the edges.

Results of one method under one protocol come in, a table of strings comes out, and from it Markdown or CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from blemish.errors import SettingError
from blemish.evaluation.paper import PAPER_DEFECT_TYPES
from blemish.evaluation.protocols import ALL, Auroc
from blemish.report.page import Table

MEAN = "mean"


def auroc_table(results: Sequence[Auroc]) -> Table:
    """Lay out results as in the paper's Figures 6 and 7.

    The first two columns say whether the network was trained on the category, and its name; known categories come
    first. Then one column for each defect type, in the paper's order, others after them by name; then "all", where
    the results have it (`honest_protocol` gives it); last the mean of the row's defect types, without "all". The last
    row has the means of the columns. In the corner stand two means, as in the paper: of the defect types / of the
    categories.

    A cell reads "0.942 ± 0.010": mean and sample standard deviation over the repeats; without the latter for one
    repeat. Every mean at the edges is taken within each repeat first, and then summed up over the repeats in the same
    way.

    Raises:
        SettingError: there are no results, two for one cell, or results with different numbers of repeats.
    """
    cells = _cells(results)
    categories = sorted({(not result.known, result.category) for result in results})
    columns = sorted({result.defect_type for result in results}, key=_paper_order)
    rows, category_means = [], []
    for unknown, category in categories:
        row = [cells.get((category, column)) for column in columns]
        category_means.append(_mean(cell for cell, column in zip(row, columns, strict=True) if column != ALL))
        group = "unknown" if unknown else "known"
        rows.append((group, category, *(_text(cell) for cell in (*row, category_means[-1]))))
    column_means = [_mean(cells.get((category, column)) for _, category in categories) for column in columns]
    mean_of_types = _mean(mean for mean, column in zip(column_means, columns, strict=True) if column != ALL)
    corner = f"{_text(mean_of_types)} / {_text(_mean(category_means))}" if mean_of_types else ""
    rows.append(("", MEAN, *(_text(mean) for mean in column_means), corner))
    return Table(("group", "category", *columns, MEAN), tuple(rows))


def to_markdown(table: Table) -> str:
    """Write a table for a Markdown page, numbers to the right.

    Example:
        >>> print(to_markdown(Table(("category", "mean"), (("tile", "0.942"),))), end="")
        | category |  mean |
        | :------- | ----: |
        | tile     | 0.942 |
    """
    lines = [tuple(cell.replace("|", r"\|") for cell in line) for line in (table.headers, *table.rows)]
    columns = [_aligned(column) for column in zip(*lines, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in zip(*columns, strict=True))


def to_csv(table: Table) -> str:
    """Write a table as comma-separated text, one line per row, headers first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((table.headers, *table.rows))
    return text.getvalue()


def _aligned(column: tuple[str, ...]) -> list[str]:
    """Pad a column, header first, and put Markdown's rule below the header; numbers go to the right."""
    width = max(3, *(len(cell) for cell in column))
    if all(cell[:1].isdigit() for cell in column[1:] if cell):
        header, *cells = (cell.rjust(width) for cell in column)
        return [header, "-" * (width - 1) + ":", *cells]
    header, *cells = (cell.ljust(width) for cell in column)
    return [header, ":" + "-" * (width - 1), *cells]


def mean_and_spread(values: Sequence[float]) -> str:
    """Write values of several repeats as mean and sample standard deviation; a single one has no spread.

    Example:
        >>> mean_and_spread([0.5, 0.7]), mean_and_spread([0.5])
        ('0.600 ± 0.141', '0.500')
    """
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _cells(results: Sequence[Auroc]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Key the values by category and defect type."""
    if not results:
        raise SettingError("there are no results to lay out; expected at least one AUROC")
    repeats = {len(result.values) for result in results}
    if len(repeats) > 1:
        raise SettingError(f"results have {sorted(repeats)} repeats; expected the same number for all of them")
    cells: dict[tuple[str, str], tuple[float, ...]] = {}
    for result in results:
        key = result.category, result.defect_type
        if key in cells:
            raise SettingError(
                f"there are two results for {key[0]}/{key[1]}; a table shows one method and one protocol"
            )
        cells[key] = result.values
    return cells


def _paper_order(defect_type: str) -> tuple[bool, int, str]:
    """Sort the paper's 20 types as it does, then others by name, then "all"."""
    place = PAPER_DEFECT_TYPES.index(defect_type) if defect_type in PAPER_DEFECT_TYPES else len(PAPER_DEFECT_TYPES)
    return defect_type == ALL, place, defect_type


def _mean(cells: Iterable[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """Average cells within each repeat; None where there are none."""
    present = [cell for cell in cells if cell is not None]
    return tuple(fmean(repeat) for repeat in zip(*present, strict=True)) or None


def _text(values: tuple[float, ...] | None) -> str:
    return "" if values is None else mean_and_spread(values)
