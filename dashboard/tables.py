"""Rows, runs and meta as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.axes import Axis, front, place
from dashboard.reading.runs import Arms
from infomri_core.results.frontier import Row, attacks, label

_PARAMETERS = (
    *("sampler", "suppression", "beta", "seed", "exponent", "constraint", "noise_std"),
    *("rounds", "local_steps", "batch_size", "learning_rate", "width", "norm", "input", "mouth"),
)


def frontier_table(
    rows: Sequence[Row], placed: Sequence[str], x: Axis, y: Axis, attack: str
) -> pd.DataFrame:
    """One line an arm with every figure; ``placed`` names the arms that stand in the figure."""
    best = {point.row.arm for point in front(place(rows, x, y, attack))}
    return pd.DataFrame([_line(row, rows, row.arm in best) for row in rows])


def frontier_columns(rows: Sequence[Row]) -> dict[str, Any]:
    """How :func:`frontier_table` prints its figures."""
    decibel = st.column_config.NumberColumn(format="%.1f")
    share = st.column_config.NumberColumn(format="%.3f")
    names = ["strongest", "floor", "gain", "diagnosis alone"]
    names += [f"PSNR {name}" for name in attacks(rows)]
    return {
        **dict.fromkeys(names, decibel),
        **dict.fromkeys(["AUROC", "from", "to", "accuracy", "linkage"], share),
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
    return pd.DataFrame(
        [
            {
                "arm": label(row, rows),
                "acceleration": f"{row.acceleration:g}x",
                "attack": name,
                "PSNR": row.psnr[name],
                "from": row.psnr_low.get(name),
                "to": row.psnr_high.get(name),
                "beyond the floor": _less(row.psnr[name], row.psnr_prior),
                "beyond the diagnosis": _less(row.psnr[name], row.psnr_diagnosis),
                "SSIM": row.ssim.get(name),
                "NMSE": row.nmse.get(name),
                "own test": "passed" if name in row.certified else "weak",
            }
            for row in rows
            for name in attacks(rows)
            if name in row.psnr
        ]
    )


def attack_columns() -> dict[str, Any]:
    """How :func:`attack_table` prints its figures."""
    decibel = st.column_config.NumberColumn(format="%.1f")
    share = st.column_config.NumberColumn(format="%.3f")
    in_decibel = ["PSNR", "from", "to", "beyond the floor", "beyond the diagnosis"]
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
    """How often a measurement was matched with its patient; no line where nobody was matched."""
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
    """Each site's own AUROC and PSNR by arm and acceleration, from the meta of the results."""
    names = {row.arm: label(row, rows) for row in rows}
    places = {name: i for i, name in enumerate(names)}
    entries = sorted(
        meta.get("per_site") or [],
        key=lambda e: (e["site"], e["acceleration"], places.get(e["arm"], len(places))),
    )
    return pd.DataFrame(
        [
            {
                "site": entry["site"],
                "arm": names.get(entry["arm"], entry["arm"]),
                "acceleration": f"{entry['acceleration']:g}x",
                "AUROC": entry.get("auroc"),
                "from": entry.get("auroc_low"),
                "to": entry.get("auroc_high"),
                "groups": entry.get("groups"),
                **{f"PSNR {name}": value for name, value in (entry.get("psnr") or {}).items()},
                "patients": entry.get("n_patients"),
            }
            for entry in entries
        ]
    )


def _line(row: Row, rows: Sequence[Row], on_front: bool) -> dict[str, object]:
    return {
        "arm": label(row, rows),
        "Pareto-optimal": on_front,
        "AUROC": row.auroc,
        "from": row.auroc_low,
        "to": row.auroc_high,
        "groups": row.auroc_groups,
        "accuracy": row.accuracy,
        **{f"PSNR {name}": row.psnr.get(name) for name in attacks(rows)},
        "strongest": row.psnr_worst,
        "floor": row.psnr_prior,
        "gain": row.psnr_gain,
        "diagnosis alone": row.psnr_diagnosis,
        "linkage": row.linkage_same_rank1,
        "redundancy": None if row.redundancy is None else 100 * row.redundancy,
        "weak attacks": ", ".join(name for name in row.psnr if name not in row.certified),
        "audit slices": row.n_audit,
        "patients": row.n_patients,
    }


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
