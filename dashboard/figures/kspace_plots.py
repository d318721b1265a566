"""Sampling of several arms one below the other: probability, mask and entropy over k-space."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.reading.trained_study import Drawn

_AXIS = "cycles per field of view"
_COLUMNS = (
    ("probability", "Cividis", "sampling probability"),
    ("mask", "Greys_r", "one mask"),
    ("beyond_noise", "Viridis", "nats beyond noise"),
)
_ROW_PIXELS, _EDGE_PIXELS = 250, 130


def sampling(drawn: Mapping[str, Drawn]) -> go.Figure:
    """A row an arm, by its label; columns: probability, one mask, entropy per point. Colours mean
    the same along a column; those of the entropy end at its 99th percentile, or its middle would
    hide all."""
    n = max(1, len(drawn))
    height = _EDGE_PIXELS + _ROW_PIXELS * n
    figure = make_subplots(
        rows=n,
        cols=3,
        column_titles=[title for _, _, title in _COLUMNS],
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.03,
        vertical_spacing=min(0.3, 34 / height),
    )
    for j, (name, scale, _) in enumerate(_COLUMNS):
        arrays = [np.asarray(getattr(one, name), dtype=float) for one in drawn.values()]
        for i, values in enumerate(arrays):
            bar = _bar(j, height) if name != "mask" and i == n - 1 else None
            heat = _heat(values, scale, _top(name, arrays), bar)
            figure.add_trace(heat, row=i + 1, col=j + 1)
    for i, text in enumerate(drawn):
        figure.update_yaxes(title=f"<b>{text}</b><br>k<sub>y</sub>", row=i + 1, col=1)
    figure.update_xaxes(title="k<sub>x</sub>", row=n)
    figure.update_xaxes(title=f"k<sub>x</sub> ({_AXIS})", row=n, col=2)
    figure.update_yaxes(scaleanchor="x", autorange="reversed", constrain="domain")
    figure.update_xaxes(constrain="domain", showgrid=False)
    figure.update_layout(height=height, margin={"l": 10, "r": 10, "t": 30, "b": 70})
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


def _bar(column: int, height: int) -> Mapping[str, object]:
    """A horizontal colour bar below a column."""
    below = -62 / (height - 100)
    return {
        "orientation": "h",
        "len": 0.3,
        "x": 0.155 + 0.345 * column,
        "y": below,
        "yanchor": "top",
        "thickness": 10,
    }
