"""Where labels of points stand so that they overlap neither each other nor what is drawn.

Lengths are fractions of the panel: (0, 0) is its lower left corner, (1, 1) its upper right one.
"""

import itertools
import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def label_places(
    points: Sequence[tuple[float, float]],
    widths: Sequence[float],
    height: float,
    taken: Sequence[Box],
) -> list[tuple[float, float]]:
    """The centre of each point's label, in lines of text nearest below all ``taken`` boxes of the
    points, or else above; a thin line from label to point tells them apart.

    Within a line labels stand in the order of their points, so leaders of a line do not cross.
    """
    if not points:
        return []
    order = sorted(range(len(points)), key=lambda i: points[i])
    n_lines = next(
        n
        for n in range(1, len(points) + 1)
        if n == len(points) or all(sum(widths[i] for i in order[k::n]) <= 1 for k in range(n))
    )
    lines = [order[number::n_lines] for number in range(n_lines)]
    xs = {
        i: x
        for line in lines
        for i, x in zip(line, _spread([points[i][0] for i in line], [widths[i] for i in line]))
    }
    boxes = [box for box in taken if any(_holds(box, point) for point in points)]
    low = min([box[1] for box in boxes] + [y for _, y in points])
    high = max([box[3] for box in boxes] + [y for _, y in points])
    step, depth = 1.1 * height, 1.1 * height * (n_lines - 1)
    below = [low - height * (1 + k / 2) for k in range(math.ceil(2 * low / height))]
    above = [
        high + height * (1 + k / 2) + depth for k in range(math.ceil(2 * (1 - high) / height))
    ]
    tops = [top for top in (*below, *above) if height / 2 + depth <= top <= 1 - height / 2]
    free = [
        top
        for top in tops
        if not any(
            _meet(_around(xs[i], top - k * step, widths[i], height), box)
            for k, line in enumerate(lines)
            for i in line
            for box in taken
        )
    ]
    top = (free or tops or [height / 2 + depth])[0]
    ys = {i: top - k * step for k, line in enumerate(lines) for i in line}
    return [(xs[i], ys[i]) for i in range(len(points))]


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centres near ``wanted``, in rising order, that keep labels apart and inside the panel."""
    gaps = [(a + b) / 2 for a, b in itertools.pairwise(widths)]
    pushed = _pushed(wanted, gaps)
    shift = sum(w - c for w, c in zip(wanted, pushed)) / len(pushed)
    inside = [max(pushed[0] + shift, widths[0] / 2), *(centre + shift for centre in pushed[1:])]
    centres = _pushed(inside, gaps)
    centres[-1] = min(centres[-1], 1 - widths[-1] / 2)
    return [-c for c in _pushed([-c for c in reversed(centres)], gaps[::-1])][::-1]


def _pushed(centres: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Each centre moved up as far as it must be from the one before."""
    found = list(centres)
    for i, gap in enumerate(gaps):
        found[i + 1] = max(found[i + 1], found[i] + gap)
    return found


def _around(x: float, y: float, width: float, height: float) -> Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _holds(box: Box, point: tuple[float, float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
