"""Charts show every image, where its number puts it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from blemish.detection.decision import decide
from blemish.detection.drift import find_drift, usual_range
from blemish.report.charts import ControlChart, control_chart, score_chart
from blemish.results import Threshold

THRESHOLD = Threshold(value=2.0, alpha=0.01, promised_alpha=0.01, n_images=143)
GOOD = np.linspace(0.4, 0.5, 41).tolist()


def numbers(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(0.45, 0.05, n).tolist()


def images_of(chart: ControlChart) -> list[tuple[int, int]]:
    """Return the first and the last image of every dot, as its title has them."""
    found = [re.match(r"images? ([\d,]+)(?: to ([\d,]+))?:", dot.title) for dot in chart.dots]
    return [(int(m[1].replace(",", "")), int((m[2] or m[1]).replace(",", ""))) for m in found if m]


@pytest.mark.parametrize("n", [1, 2, 10, 150, 151, 1000, 10_000])
def test_every_image_is_in_one_dot_and_dots_are_few(n: int) -> None:
    chart = control_chart("brightness", numbers(n), GOOD)
    assert len(chart.dots) == min(n, 150)
    spans = images_of(chart)
    assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]
    assert spans[-1][1] == n
    sizes = [last - first + 1 for first, last in spans]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("good", [GOOD, []])
def test_all_lies_inside_of_the_plot_from_left_to_right(n: int, good: list[float]) -> None:
    chart = control_chart("sharpness", numbers(n), good)
    assert all(0 <= dot.highest <= dot.y <= dot.lowest <= 100 for dot in chart.dots)
    places = [0.0, *(dot.x for dot in chart.dots), 100.0]
    assert places == sorted(places)
    assert chart.middle is not None
    assert 0 <= chart.middle <= 100
    assert (chart.band is None) == (not good)


def test_a_larger_number_lies_higher_and_equal_steps_are_equally_high() -> None:
    chart = control_chart("contrast", [0.1, 0.2, 0.3, 0.4], GOOD)
    heights = np.diff([dot.y for dot in chart.dots])
    assert (heights < 0).all()
    assert heights == pytest.approx(heights[0])


def test_a_dot_is_outside_exactly_when_it_is_not_on_the_band() -> None:
    chart = control_chart("brightness", numbers(140), GOOD)
    assert chart.band is not None
    top, bottom = chart.band
    assert {dot.kind for dot in chart.dots} == {"inside", "outside"}
    assert all((dot.kind == "inside") == (top <= dot.y <= bottom) for dot in chart.dots)


def test_a_dot_of_many_shows_their_mean_and_their_ends() -> None:
    values = numbers(3000)
    one, many = control_chart("brightness", values[:20], GOOD), control_chart("brightness", values, GOOD)
    assert all(dot.highest == dot.y == dot.lowest for dot in one.dots)
    (_, mean, low, high) = re.findall(r"[\d.]+", many.dots[0].title)[1:]
    assert [float(text) for text in (mean, low, high)] == pytest.approx(
        [np.mean(values[:20]), min(values[:20]), max(values[:20])], rel=1e-3
    )


def test_chart_and_warning_speak_of_the_same_numbers() -> None:
    darker = [value - 0.2 for value in numbers(50)]
    (drift,) = find_drift({"brightness": GOOD}, {"brightness": darker})
    assert (drift.low, drift.high) == usual_range(GOOD)
    about = control_chart("brightness", darker, GOOD).about
    assert about == (f"this batch {drift.found:.3g}, most good images {drift.low:.3g} to {drift.high:.3g}")


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_images_that_are_all_alike_can_be_drawn(value: float) -> None:
    for good in ([], [value] * 5):
        chart = control_chart("contrast", [value] * 7, good)
        assert {dot.kind for dot in chart.dots} == {"inside"}
        assert {round(dot.y, 9) for dot in chart.dots} == {round(chart.middle or -1, 9)}


@pytest.mark.parametrize("scores", [[1.0], [0.5, 2.0, 2.5, 1.8], [1.0, 500.0]])
def test_scores_have_the_colour_of_their_verdict_and_lie_on_its_side_of_the_limits(scores: list[float]) -> None:
    threshold = replace(THRESHOLD, unsure=replace(THRESHOLD, value=1.5))
    chart = score_chart(np.array(scores), threshold)
    assert [dot.kind for dot in chart.dots] == [decide(score, threshold).value for score in scores]
    upper, lower = chart.limits
    assert upper < lower
    assert [(dot.y < upper) + (dot.y < lower) for dot in chart.dots] == [(s > 2.0) + (s > 1.5) for s in scores]
    assert all(0 <= dot.y <= 100 for dot in chart.dots)
