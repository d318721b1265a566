"""Labels of a figure overlap neither each other nor a point or its bars."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from fl_server.report import frontier_figure
from infomri_core.results.label_places import Box, label_places
from tests.server.test_figures import LEARNED
from tests.support.rows import changed

HEIGHT = 0.06
unit = st.floats(0.05, 0.95)
points = st.lists(st.tuples(unit, unit), min_size=1, max_size=6)


def boxes(places: list[tuple[float, float]], widths: list[float]) -> list[Box]:
    return [
        (x - w / 2, y - HEIGHT / 2, x + w / 2, y + HEIGHT / 2) for (x, y), w in zip(places, widths)
    ]


def overlap(a: Box, b: Box) -> bool:
    e = 1e-9
    return a[0] < b[2] - e and b[0] < a[2] - e and a[1] < b[3] - e and b[1] < a[3] - e


@given(points, st.data())
def test_labels_stand_apart_and_inside_the_panel(points, data):
    widths = data.draw(st.lists(st.floats(0.05, 0.3), min_size=len(points), max_size=len(points)))
    found = boxes(label_places(points, widths, HEIGHT, []), widths)
    assert not any(overlap(a, b) for a, b in itertools.combinations(found, 2))
    assert all(a > -1e-9 and b > -1e-9 and c < 1 + 1e-9 and d < 1 + 1e-9 for a, b, c, d in found)


def test_labels_avoid_what_is_drawn_below_their_points() -> None:
    points, widths = [(0.5, 0.8), (0.52, 0.82)], [0.1, 0.1]
    taken = [(0.48, 0.7, 0.54, 0.9), (0.3, 0.55, 0.7, 0.68)]
    found = boxes(label_places(points, widths, HEIGHT, taken), widths)
    assert not any(overlap(label, box) for label in found for box in taken)


def test_points_at_the_bottom_have_their_labels_above() -> None:
    taken = [(0.4, 0.0, 0.6, 0.2)]
    ((_, y),) = label_places([(0.5, 0.1)], [0.1], HEIGHT, taken)
    assert y >= 0.2 + HEIGHT / 2


def test_the_figure_s_labels_do_not_overlap_where_points_nearly_coincide() -> None:
    rows = [
        changed(
            LEARNED, arm=f"a{i}", beta=beta, auroc=0.95 - 0.004 * i, psnr={"lmmse": 26 + i / 5}
        )
        for i, beta in enumerate((0.0, 1e-4, 3e-4, 1e-3, 3e-3))
    ]
    figure = frontier_figure._draw([*rows, changed(LEARNED, sampler="uniform", auroc=0.5)])
    figure.canvas.draw()
    labels = [text for text in figure.axes[0].texts if text.get_text().startswith("β")]
    extents = [Text.get_window_extent(label) for label in labels]  # without the leaders
    assert len(extents) == 5
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
