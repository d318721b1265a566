"""Sampling of several arms side by side: probabilities, masks and entropy over k-space."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.reading.trained_study import Drawn

_AXIS = "cycles per field of view"
_ROWS = (
    ("probability", "Cividis", "probability of<br>being sampled"),
    ("mask", "Greys_r", ""),
    ("beyond_noise", "Viridis", "nats beyond<br>noise, a point"),
)


def sampling(drawn: Mapping[str, Drawn]) -> go.Figure:
    """A column an arm, by its label; rows: probability, one mask, entropy. Colours mean the same
    along a row; those of the entropy end at its 99th percentile, or its middle would hide all."""
    n = max(1, len(drawn))
    figure = make_subplots(
        rows=3,
        cols=n,
        column_titles=list(drawn),
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.02,
        vertical_spacing=0.03,
    )
    for i, (name, scale, title) in enumerate(_ROWS):
        arrays = [np.asarray(getattr(one, name), dtype=float) for one in drawn.values()]
        for j, values in enumerate(arrays):
            bar = _bar(title, i) if title and j == n - 1 else None
            heat = _heat(values, scale, _top(name, arrays), bar)
            figure.add_trace(heat, row=i + 1, col=j + 1)
    figure.update_xaxes(title=f"k<sub>x</sub> ({_AXIS})", row=3)
    figure.update_yaxes(title=f"k<sub>y</sub> ({_AXIS})", col=1)
    figure.update_yaxes(scaleanchor="x", autorange="reversed", constrain="domain")
    figure.update_xaxes(constrain="domain", showgrid=False)
    figure.update_layout(
        height=round(190 + 3 * min(320, 760 / n)), margin={"l": 10, "r": 10, "t": 30, "b": 10}
    )
    return figure


def frequencies(n: int) -> np.ndarray:
    """The frequencies along an axis of n points, zero at n // 2."""
    return np.arange(n) - n // 2


def _top(name: str, arrays: list[np.ndarray]) -> float:
    everything = np.concatenate([a.ravel() for a in arrays]) if arrays else np.ones(1)
    top = np.percentile(everything, 99.0) if name == "beyond_noise" else everything.max()
    return float(top) or 1.0


def _heat(
    values: np.ndarray, scale: str, top: float, bar: Mapping[str, object] | None
) -> go.Heatmap:
    return go.Heatmap(
        z=values,
        x=frequencies(values.shape[1]),
        y=frequencies(values.shape[0]),
        colorscale=scale,
        zmin=0.0,
        zmax=top,
        showscale=bar is not None,
        colorbar=bar,
        hovertemplate="k<sub>x</sub> %{x}, k<sub>y</sub> %{y}: %{z:.3g}<extra></extra>",
    )


def _bar(title: str, row: int) -> Mapping[str, object]:
    return {"title": {"text": title}, "len": 0.3, "y": 0.84 - 0.34 * row, "thickness": 14}
