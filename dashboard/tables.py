"""Rows, runs and meta as tables for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.axes import Axis, front, place
from dashboard.reading.runs import Arms
from infomri_core.results.frontier import Row, answer_in, attacks, label, labels, utility_of
from infomri_core.results.trained_against import weaker_judge
from infomri_core.tasks.registry import DEFAULT, figures_of

_PARAMETERS = (
    *("sampler", "suppression", "beta", "seed", "exponent", "constraint", "noise_std"),
    *("rounds", "local_steps", "batch_size", "learning_rate", "width", "norm", "input", "mouth"),
)


def frontier_table(rows: Sequence[Row], x: Axis, y: Axis, attack: str) -> pd.DataFrame:
    """One line an arm and acceleration with every figure."""
    best = {id(point.row) for point in front(place(rows, x, y, attack))}
    return _known(pd.DataFrame([_line(row, rows, id(row) in best) for row in rows]))


def frontier_columns(rows: Sequence[Row]) -> dict[str, Any]:
    """How :func:`frontier_table` prints its figures."""
    decibel = st.column_config.NumberColumn(format="%.1f")
    names = ["strongest", "floor", "gain", f"{answer_in(rows)} alone"]
    names += [f"PSNR {name}" for name in attacks(rows)]
    return {
        **dict.fromkeys(names, decibel),
        **_figure_columns(rows),
        "linkage": st.column_config.NumberColumn(format="%.3f"),
        "redundancy": st.column_config.NumberColumn(format="%.0f"),
    }


def arm_facts(found: Arms, row: Row) -> pd.DataFrame:
    """What the arm of ``row`` was run with, as parameter and value."""
    values = found.parameters.get(row.arm, {})
    names = [name for name in _PARAMETERS if name in values]
    names += sorted(set(values) - set(names))
    return pd.DataFrame({"parameter": names, "value": [values[name] for name in names]})


def attack_table(rows: Sequence[Row]) -> pd.DataFrame:
    """One line an arm, acceleration and attack: PSNR with interval, SSIM, NMSE, its own test."""
    return _known(
        pd.DataFrame(
            [
                {
                    "arm": label(row, rows),
                    "acceleration": f"{row.acceleration:g}x",
                    "attack": name,
                    "PSNR": row.psnr[name],
                    "from": row.psnr_low.get(name),
                    "to": row.psnr_high.get(name),
                    "beyond the floor": _less(row.psnr[name], row.psnr_prior),
                    f"beyond the {row.answer}": _less(row.psnr[name], row.psnr_answer),
                    "SSIM": row.ssim.get(name),
                    "NMSE": row.nmse.get(name),
                    "own test": "passed" if name in row.certified else "weak",
                    "trained against": "yes, a lenient judge" if weaker_judge(row, name) else "",
                }
                for row in rows
                for name in attacks(rows)
                if name in row.psnr
            ]
        )
    )


def difference_table(meta: Mapping[str, Any], rows: Sequence[Row]) -> pd.DataFrame:
    """One line for two arms, or one arm at two accelerations: the second less the first."""
    figure = utility_of(rows)
    return pd.DataFrame(
        [
            {
                "first": _placed(item["first"], rows),
                "second": _placed(item["second"], rows),
                figure.title: _changed(item.get(figure.name), figure.change),
                "strongest attack, dB": _changed(item.get("psnr"), "{:+.1f}".format),
                "interval": str(item.get("how", "")),
            }
            for item in meta.get("differences") or []
        ]
    )


def _placed(cell: Sequence[Any], rows: Sequence[Row]) -> str:
    named = labels(rows)
    return f"{named.get(str(cell[0]), cell[0])} at {float(cell[1]):g}x"


def _changed(found: Mapping[str, Any] | None, form: Callable[[float], str]) -> str:
    value, low, high = ((found or {}).get(name) for name in ("value", "low", "high"))
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" ({form(low)} to {form(high)})"
    return f"{form(value)}{ends}"


def attack_columns(rows: Sequence[Row]) -> dict[str, Any]:
    """How :func:`attack_table` prints its figures."""
    decibel = st.column_config.NumberColumn(format="%.1f")
    share = st.column_config.NumberColumn(format="%.3f")
    in_decibel = ["PSNR", "from", "to", "beyond the floor", f"beyond the {answer_in(rows)}"]
    return {**dict.fromkeys(in_decibel, decibel), **dict.fromkeys(["SSIM", "NMSE"], share)}


def certificate_table(meta: Mapping[str, Any]) -> pd.DataFrame:
    """One line an attacker: its own test on the control mask, in words and dB."""
    return pd.DataFrame(
        [
            {
                "attack": name,
                "own test": "passed" if found.get("passed") else "weak",
                "PSNR on the control mask (dB)": _rounded(found.get("psnr")),
                "LMMSE there (dB)": _rounded(found.get("psnr_lmmse")),
                "last tenth of training brought (dB)": _rounded(found.get("last_gain")),
            }
            for name, found in (meta.get("certificates") or {}).items()
        ]
    )


def linkage_table(rows: Sequence[Row]) -> pd.DataFrame:
    """How often a measurement was matched with its patient; no line where no one was matched."""
    return pd.DataFrame(
        [
            {
                "arm": label(row, rows),
                "acceleration": f"{row.acceleration:g}x",
                "same scan, rank 1": _with_interval(row, "same_rank1"),
                "same scan, AUC": _with_interval(row, "same_auc"),
                "other slice, rank 1": _with_interval(row, "other_rank1"),
                "other slice, AUC": _with_interval(row, "other_auc"),
                "by chance": f"{1 / row.linkage_gallery:.2f}" if row.linkage_gallery else "",
                "candidates": row.linkage_gallery,
            }
            for row in rows
            if row.linkage_gallery is not None
        ]
    )


def site_scores(meta: Mapping[str, Any], rows: Sequence[Row]) -> pd.DataFrame:
    """Each site's own first figure and PSNR by arm and acceleration, from the results' meta."""
    names, figure = {row.arm: label(row, rows) for row in rows}, utility_of(rows)
    places = {name: i for i, name in enumerate(names)}
    entries = sorted(
        meta.get("per_site") or [],
        key=lambda e: (e["site"], e["acceleration"], places.get(e["arm"], len(places))),
    )
    return _known(
        pd.DataFrame(
            [
                {
                    "site": entry["site"],
                    "arm": names.get(entry["arm"], entry["arm"]),
                    "acceleration": f"{entry['acceleration']:g}x",
                    figure.title: entry.get(figure.name),
                    "from": entry.get(f"{figure.name}_low"),
                    "to": entry.get(f"{figure.name}_high"),
                    "groups": entry.get("groups"),
                    **{f"PSNR {name}": value for name, value in (entry.get("psnr") or {}).items()},
                    "patients": entry.get("n_patients"),
                }
                for entry in entries
            ]
        )
    )


def _known(table: pd.DataFrame) -> pd.DataFrame:
    """Without columns that nothing is known of, such as groups under noise."""
    return table.dropna(axis=1, how="all")


def _line(row: Row, rows: Sequence[Row], on_front: bool) -> dict[str, object]:
    return {
        "arm": label(row, rows),
        "at": f"{row.acceleration:g}x",
        "Pareto-optimal": on_front,
        **_figures(row),
        **{f"PSNR {name}": row.psnr.get(name) for name in attacks(rows)},
        "strongest": row.psnr_worst,
        "floor": row.psnr_prior,
        "gain": row.psnr_gain,
        f"{row.answer} alone": row.psnr_answer,
        "linkage": row.linkage_same_rank1,
        "redundancy": None if row.redundancy is None else 100 * row.redundancy,
        "weak attacks": ", ".join(name for name in row.psnr if name not in row.certified),
        "audit slices": row.n_audit,
        "patients": row.n_patients,
    }


def _figures(row: Row) -> dict[str, object]:
    """The task's figures by title: the first with its interval."""
    first, *others = figures_of(row.task)
    found = row.utility
    ends = {"from": found.low, "to": found.high, "groups": found.n_groups}
    return {
        first.title: found.value,
        **ends,
        **{f.title: row.figure(f.name).value for f in others},
    }


def site_columns(rows: Sequence[Row]) -> dict[str, Any]:
    """How :func:`site_scores` prints its figures."""
    decibel = st.column_config.NumberColumn(format="%.1f")
    of_attacks = dict.fromkeys([f"PSNR {name}" for name in attacks(rows)], decibel)
    figure = utility_of(rows)
    form = st.column_config.NumberColumn(format=f"%.{figure.digits}f")
    return of_attacks | dict.fromkeys([figure.title, "from", "to"], form)


def _figure_columns(rows: Sequence[Row]) -> dict[str, Any]:
    first, *others = figures_of(rows[0].task if rows else DEFAULT)
    names = dict.fromkeys((first.title, "from", "to"), first.digits)
    names |= {figure.title: figure.digits for figure in others}
    return {n: st.column_config.NumberColumn(format=f"%.{d}f") for n, d in names.items()}


def _with_interval(row: Row, name: str) -> str:
    value = getattr(row, f"linkage_{name}")
    if value is None:
        return ""
    low, high = row.linkage_low.get(name), row.linkage_high.get(name)
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _less(value: float, floor: float | None) -> float | None:
    return None if floor is None else value - floor
