"""What a task's own figures look like: over acceleration, and on the diagonal."""

from dashboard.figures.by_acceleration import by_acceleration
from dashboard.figures.calibration import diagonal
from infomri_core.results.frontier import Row
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.registry import TASKS, figures_of, task_class


def row(arm: str, sampler: str, acceleration: float, value: float | None) -> Row:
    figures = {"agreement": Estimate(value, None if value is None else value - 0.1, 1.0)}
    base = Row(arm, sampler, 0.0, 0, acceleration, task="segmentation")
    return Row(**{**base.__dict__, "figures": figures})


def test_a_figure_over_acceleration_is_a_line_an_arm_with_its_intervals() -> None:
    rows = [row("a", "infomri", 16.0, 0.8), row("a", "infomri", 4.0, 0.9)]
    rows += [row("b", "uniform", 4.0, None), row("b", "uniform", 16.0, 0.4)]
    drawn = by_acceleration(rows, figures_of("segmentation")[0])
    first, second = drawn.data
    assert list(first.x) == [4.0, 16.0] and list(first.y) == [0.9, 0.8]
    assert [round(v, 6) for v in first.error_y.arrayminus] == [0.1, 0.1]
    assert list(second.x) == [16.0]
    assert "1 - GED" in drawn.layout.yaxis.title.text


def test_what_is_calibrated_lies_on_the_diagonal() -> None:
    curve = {"title": "Reliability", "x": "probability", "y": "share", "points": [[0.5, 0.6, 1.0]]}
    drawn = diagonal({"a": curve}, {"a": "infomri"})
    line, ideal = drawn.data
    assert (list(line.x), list(line.y)) == ([0.5], [0.6])
    assert list(ideal.x) == list(ideal.y) == [0, 0.6]
    assert drawn.layout.xaxis.title.text == "probability"


def test_every_term_of_every_task_has_a_title_for_people() -> None:
    for kind in TASKS:
        task = task_class(kind)
        assert set(task.loss_titles) == set(task.loss_terms)
