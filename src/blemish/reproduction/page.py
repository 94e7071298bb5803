"""The paper's tables and figures, made from the scores of the experiment: CSV, Markdown and one HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from blemish.datasets import GOOD
from blemish.detection.decision import decide
from blemish.evaluation.figures import MapRow, maps_figure, scatter_figure, triplets_figure
from blemish.evaluation.paper import PUBLISHED, group_as_paper
from blemish.evaluation.protocols import ALL, IN_SAMPLE, Auroc, fit_svm, honest_protocol, paper_protocol
from blemish.evaluation.tables import auroc_table, mean_and_spread, to_csv, to_markdown
from blemish.images import write_text
from blemish.progress import Progress, silent
from blemish.report import page
from blemish.report.page import Table
from blemish.reproduction.experiment import CategoryScores, ReproductionSettings, read_arrays, score_everything
from blemish.results import Verdict

TITLES: Final = {
    "staar2019": "Baseline (Staar et al. 2019): Gaussian noise, threshold on the maximum distance",
    "tayeh2020": "Proposed (Tayeh et al. 2020): random erasing",
}
_PUBLISHED: Final = {"staar2019": "staar", "tayeh2020": "proposed"}
_SAME: Final = "The baseline fits nothing: its threshold is swept over the maximum distance, so both protocols are one."


def reproduce(data: Path, settings: ReproductionSettings, out: Path, progress: Progress = silent) -> Path:
    """Rerun the paper and write what came out.

    Args:
        data: folder of categories in MVTec AD's layout.
        settings: what is run.
        out: folder for ``report.html``, ``tables.md``, ``aurocs.csv``, ``scores.csv`` and the files of the experiment.
        progress: told after every step.

    Returns:
        The HTML page.

    Raises:
        DatasetError, ImageError, OutputError, TrainingError: see `experiment.score_everything`.
    """
    results = score_everything(data, settings, out, progress)
    sections = [_about(results, settings), *_auroc_sections(results), _operating_point(results, settings)]
    markdown = "\n".join(_markdown(section) for section in sections)
    write_text(out / "tables.md", markdown)
    write_text(out / "scores.csv", to_csv(_scores_table(results)))
    write_text(out / "aurocs.csv", to_csv(_aurocs_table(results)))
    sections += [_figure_1(results, out), _figure_4(out), _figure_8(results)]
    html = page.render_document(
        "The paper, rerun", sections, intro="Tayeh et al. 2020, with the baseline of Staar et al."
    )
    write_text(out / "report.html", html)
    return out / "report.html"


def aurocs(results: Sequence[CategoryScores], method: str, protocol: str) -> list[Auroc]:
    """Judge all categories and repeats of one method.

    Args:
        results: of the experiment.
        method: "tayeh2020" or "staar2019".
        protocol: "paper" (the SVM is fitted on the images it judges; the baseline has none and is the same under
            both), or "honest" (nothing is fitted; the detector's score judges, here the maximum distance).
    """
    values: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    for result in results:
        if result.method == method:
            samples = group_as_paper(result.samples)
            if protocol == "paper" and method == "tayeh2020":
                found = paper_protocol(samples)
            else:  # "all" means all defects, those too that the paper's tables leave out
                found = {**honest_protocol(samples), ALL: honest_protocol(result.samples)[ALL]}
            for defect_type, value in found.items():
                if protocol == "honest" or defect_type != ALL:
                    values[result.category, defect_type, result.known].append(value)
    return [Auroc(category, name, known, tuple(found)) for (category, name, known), found in values.items()]


def _about(results: Sequence[CategoryScores], settings: ReproductionSettings) -> page.Section:
    steps = {name: [r.training["steps"] for r in results if r.method == name] for name in TITLES}
    minutes = {name: fmean(r.training["elapsed_s"] for r in results if r.method == name) / 60 for name in TITLES}
    difference = max(result.graph_difference for result in results)
    rows = (
        ("known categories", ", ".join(settings.known)),
        ("unknown categories", ", ".join(settings.unknown) or "none"),
        ("repeats", f"{settings.repeats}, each with its own split, weights and triplets; seeds from {settings.seed}"),
        ("training", f"{settings.epochs} epochs (paper: 40), {min(min(s) for s in steps.values())} steps or more"),
        ("training time", ", ".join(f"{name} {value:.1f} minutes a run" for name, value in minutes.items())),
        ("image size", f"{settings.side} x {settings.side} (paper: 1024 x 1024)"),
        ("prototype", f"per {settings.reference}, of at most {max(r.n_prototype for r in results)} good images"),
        ("graph against PyTorch", f"scores differ by at most {difference:.1g}, on every category and repeat"),
    )
    return page.Section("What was run", tables=(Table(("setting", "value"), rows),))


def _auroc_sections(results: Sequence[CategoryScores]) -> Iterator[page.Section]:
    spread = "Mean and sample standard deviation over the repeats."
    for method, title in TITLES.items():
        yield page.Section(
            f"{title}; honest protocol",
            ("Image-level AUROC of the maximum distance; nothing is fitted to or chosen on test images. " + spread,),
            (auroc_table(aurocs(results, method, "honest")),),
        )
        if method == "tayeh2020":
            yield page.Section(
                f"{title}; the paper's protocol",
                (
                    f"A linear SVM (C = 1e8) on maximum and mean distance, {IN_SAMPLE}: the SVM is fitted, for every "
                    f"defect type, on the very images it then judges, as in the paper. {spread} {_SAME}",
                ),
                (auroc_table(aurocs(results, method, "paper")),),
            )
        if published := _published(results, method):
            yield published


def _published(results: Sequence[CategoryScores], method: str) -> page.Section | None:
    """Show what the paper printed for those of our categories that it has."""
    table = PUBLISHED[_PUBLISHED[method]]
    known = {result.category: result.known for result in results}
    cells = [
        Auroc(cell.category, cell.defect_type, known[cell.category], cell.values)
        for cell in table.results()
        if cell.category in known
    ]
    if not cells:
        return None
    note = "As printed, for the categories at hand; there the network was trained on 11 categories."
    return page.Section(f"Published: {table.source}", (note,), (auroc_table(cells),))


def _operating_point(results: Sequence[CategoryScores], settings: ReproductionSettings) -> page.Section:
    rows = []
    for method in TITLES:
        for category in dict.fromkeys(result.category for result in results):
            group = [r for r in results if (r.method, r.category) == (method, category)]
            alarms = [_share_stopped(r, is_good=True) for r in group]
            misses = [1 - _share_stopped(r, is_good=False) for r in group]
            promised = fmean(r.threshold.promised_alpha for r in group)
            rows.append((method, category, f"{promised:.3f}", mean_and_spread(alarms), mean_and_spread(misses)))
    text = (
        f"The threshold is set on a fifth of the good training images, kept out of training, for a false-alarm rate of "
        f"{settings.alpha:g}. Where so few images cannot promise that, 'promised' says what they can."
    )
    headers = ("method", "category", "promised", "false alarms", "misses")
    return page.Section("At the operating point; honest protocol", (text,), (Table(headers, tuple(rows)),))


def _share_stopped(result: CategoryScores, *, is_good: bool) -> float:
    group = [sample for sample in result.samples if (sample.defect_type == GOOD) == is_good]
    stopped = [decide(sample.score, result.threshold) is Verdict.DEFECTIVE for sample in group]
    return sum(stopped) / len(group)


def _figure_1(results: Sequence[CategoryScores], out: Path) -> page.Section:
    figures = []
    for method in TITLES:
        for category in dict.fromkeys(result.category for result in results):
            arrays = read_arrays(out / "pictures" / f"maps-{method}-{category}.npz")
            types = [name.removesuffix("/image") for name in arrays if name.endswith("/image")]
            rows: list[MapRow] = [
                (arrays[f"{t}/image"], arrays["mean of good"], arrays[f"{t}/map"], arrays.get(f"{t}/mask"), t)
                for t in types
            ]
            figures.append(page.Figure(maps_figure(rows), f"{category}, {method}", f"anomaly maps of {category}"))
    text = (
        "The first test image of each kind in the first repeat, whatever it shows. The map's scale is one per category."
    )
    return page.Section("Figure 1: image, mean of good images, anomaly map, mask", (text,), figures=tuple(figures))


def _figure_4(out: Path) -> page.Section:
    figures = []
    for method in TITLES:
        arrays = read_arrays(out / "pictures" / f"triplets-{method}.npz")
        png = triplets_figure(arrays["anchors"], arrays["positives"], arrays["negatives"])
        figures.append(page.Figure(png, f"{TITLES[method]}", "rows of anchors, positives and negatives"))
    return page.Section("Figure 4: triplets", ("The first triplets of the first repeat.",), figures=tuple(figures))


def _figure_8(results: Sequence[CategoryScores]) -> page.Section:
    figures = []
    for result in results:
        if result.method == "tayeh2020" and result.repeat == 0:
            samples = group_as_paper(result.samples)
            good = [sample for sample in samples if sample.defect_type == GOOD]
            for defect_type in sorted({sample.defect_type for sample in samples} - {GOOD}):
                defective = [sample for sample in samples if sample.defect_type == defect_type]
                title = f"{result.category}, {defect_type}"
                png = scatter_figure([*good, *defective], fit_svm(good, defective), title)
                figures.append(page.Figure(png, title, f"mean against maximum distance: {title}"))
    text = f"First repeat of the proposed method; the line is the SVM of the paper's protocol ({IN_SAMPLE})."
    return page.Section("Figure 8: mean against maximum distance", (text,), figures=tuple(figures))


def _aurocs_table(results: Sequence[CategoryScores]) -> Table:
    rows = [
        (
            method,
            protocol,
            cell.category,
            "known" if cell.known else "unknown",
            cell.defect_type,
            str(repeat),
            str(value),
        )
        for method in TITLES
        for protocol in ("honest", "paper")
        for cell in aurocs(results, method, protocol)
        for repeat, value in enumerate(cell.values)
    ]
    return Table(("method", "protocol", "category", "group", "defect_type", "repeat", "auroc"), tuple(rows))


def _scores_table(results: Sequence[CategoryScores]) -> Table:
    numbers = ("score", "max_distance", "mean_distance")
    rows = [
        (r.method, str(r.repeat), r.category, s.defect_type, s.path, *(str(getattr(s, name)) for name in numbers))
        for r in results
        for s in r.samples
    ]
    return Table(("method", "repeat", "category", "defect_type", "path", *numbers), tuple(rows))


def _markdown(section: page.Section) -> str:
    tables = [to_markdown(table) for table in section.tables]
    return "\n".join([f"## {section.heading}\n", *(f"{text}\n" for text in section.paragraphs), *tables])
