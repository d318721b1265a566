"""Figures of the audit beside the frontier: what attackers rebuild, and how they converged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_server.audit.examples import Examples
from infomri_core.attacks.registry import style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")


def examples(shown: Examples, path: Path) -> list[Path]:
    """Draw truth and each attack's image, one row a patient; write ``path`` as .png and .svg."""
    columns = {"truth": shown.truth, **shown.images}
    n, m = len(shown.truth), len(columns)
    figure = _blank((1.55 * m + 0.2, 1.75 * n + 0.8))
    panels = figure.subplots(n, m, squeeze=False)
    for j, (name, images) in enumerate(columns.items()):
        for i in range(n):
            axes = panels[i][j]
            axes.imshow(images[i], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
            if name in shown.psnr:
                axes.set_title(f"{shown.psnr[name][i]:.1f} dB", fontsize=8, pad=2)
        head = panels[0][j].get_title()
        panels[0][j].set_title(f"{name}\n{head}" if head else f"{name}\n", fontsize=8, pad=2)
    figure.suptitle(
        f"{shown.arm} at {shown.acceleration:g}x: the study centre's own patients, held out",
        fontsize=9,
    )
    return _save(figure, path)


def convergence(histories: Mapping[str, Sequence[Sequence[Any]]], path: Path) -> list[Path]:
    """Draw each learned attack's validation PSNR over its training; [] when none has a history.

    ``histories``: (step, training MSE, validation PSNR in dB) by attack, as in ``results.json``.
    """
    curves = {name: [(s[0], s[2]) for s in steps] for name, steps in histories.items()}
    return _curves(curves, "optimizer steps", "PSNR on held-out audit images (dB)", path)


def size_curves(certificates: Mapping[str, Mapping[str, Any]], path: Path) -> list[Path]:
    """Draw each attack's PSNR on the control mask against the images it was fitted on.

    ``certificates``: as in ``results.json``; [] when none has a curve.
    """
    curves = {name: list(c.get("size_curve") or ()) for name, c in certificates.items()}
    return _curves(curves, "audit images fitted on", "PSNR on the control mask (dB)", path)


def _curves(
    curves: Mapping[str, Sequence[Sequence[Any]]], x_name: str, y_name: str, path: Path
) -> list[Path]:
    """One line a name through its points (x, y), undefined ones left out; [] without lines."""
    defined = {n: [p for p in points if p[1] is not None] for n, points in curves.items()}
    drawn = {name: points for name, points in defined.items() if len(points) > 1}
    if not drawn:
        return []
    figure = _blank((6.0, 3.6))
    axes = figure.subplots()
    for name, points in drawn.items():
        style = style_of(name)
        line: dict[str, Any] = {
            "color": style.colour,
            "linestyle": style.line,
            "marker": "o",
            "markersize": 3,
        }
        axes.plot(*zip(*points), label=name, **line)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return _save(figure, path)


def _blank(size: tuple[float, float]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path) -> list[Path]:
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    targets = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
    with rc_context({"svg.hashsalt": "infomri", "svg.fonttype": "none"}):
        for target in targets:
            # No date: equal figures give equal bytes.
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(target, dpi=130, metadata=metadata)
    return targets
