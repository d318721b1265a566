"""First page: what the diagnosis is worth, against what the strongest attack sees."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import plots, runs
from dashboard.choice import choose_sweep
from dashboard.runs import Arms, StoreUnreachable, Sweep
from infomri_core.frontier import Row, attacks, label, pareto, psnr_of

_INTRODUCTION = (
    "Each point is one way of sampling k-space. **Up** is a better diagnosis, **left** is a worse "
    "picture for whoever attacks the released measurement. Hollow points are beaten on both "
    "counts by another arm."
)
_EXPORT = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": "frontier"}}
_READING = """
- **AUROC** is how well the model tells the findings apart: 1 is perfect, 0.5 is guessing. Bars are
  95 % intervals over patients.
- **PSNR** is how well an attack rebuilds the image from the sampled k-space. A weak attack proves
  nothing, so the strongest one counts. An attack marked weak failed a test on images that it
  should have rebuilt.
- **Floor** (dashed line): the best answer of someone who measured nothing. **Gain** is what the
  measurement gave the attacker beyond it.
- **Ideal** (dotted line): what the diagnosis alone gives away about the image. An arm on this line
  gives these attacks nothing beyond the diagnosis it was made for.
- **Redundancy** is the share of sampled points whose conjugate partner was sampled as well.
- All of this is about *released measurements*. It does not protect the model's weights.
"""


def page() -> None:
    """Draw the page."""
    st.title("Privacy and utility")
    uri, sweep = choose_sweep()
    try:
        found = runs.arms(uri, sweep)
    except StoreUnreachable as error:
        st.error(str(error), icon=":material/cloud_off:")
        return
    _state(sweep, found)
    if found.rows:
        _frontier(found.rows)


def _state(sweep: Sweep, found: Arms) -> None:
    for arm, why in found.dropped.items():
        st.warning(f"Arm {arm} was dropped: {why}", icon=":material/warning:")
    if sweep.status == "RUNNING" and not found.rows:
        st.info(
            f"This study is running: round {sweep.rounds_done} of {sweep.n_rounds}, "
            f"{len(found.names)} arms. The frontier appears when the sites have scored them.",
            icon=":material/hourglass_top:",
        )
    elif sweep.status in ("FAILED", "KILLED"):
        st.error(
            f"This run ended early ({sweep.status.lower()}) after round {sweep.rounds_done} of "
            f"{sweep.n_rounds}. `infomri run --resume {sweep.name}` continues it.",
            icon=":material/error:",
        )
    elif not found.rows:
        st.info("This run has recorded no frontier.", icon=":material/info:")


def _frontier(all_rows: Sequence[Row]) -> None:
    st.markdown(_INTRODUCTION)
    left, right, _ = st.columns([2, 2, 3], vertical_alignment="bottom")
    accelerations = sorted({row.acceleration for row in all_rows})
    with left:
        chosen = st.segmented_control(
            "Acceleration",
            accelerations,
            default=accelerations[-1],
            format_func=lambda a: f"{a:g}x",
            key="acceleration",
            required=True,
        )
    with right:
        attack = st.selectbox(
            "Attack",
            ["worst", *attacks(all_rows)],
            format_func=lambda name: "strongest" if name == "worst" else name,
            key="attack",
        )
    rows = [row for row in all_rows if row.acceleration == chosen]
    _verdict(rows, attack)
    st.plotly_chart(plots.frontier(rows, attack), config=_EXPORT, key="frontier")
    st.dataframe(_table(rows, attack), hide_index=True, column_config=_columns(rows))
    st.caption("PSNR, floor, gain and diagnosis alone in dB; redundancy in percent.")
    with st.expander("How to read this", expanded=False):
        st.markdown(_READING)


def _verdict(rows: Sequence[Row], attack: str) -> None:
    placed = [row for row in rows if row.auroc is not None and psnr_of(row, attack) is not None]
    if not placed:
        st.warning(
            "No arm has both an AUROC and a PSNR here: there are too few patients, or none with "
            "the finding, or this attack was not run.",
            icon=":material/help:",
        )
        return
    best = max(placed, key=lambda row: row.auroc or 0.0)
    threshold = best.auroc if best.auroc_low is None else best.auroc_low
    equal = [row for row in placed if (row.auroc or 0.0) >= (threshold or 0.0)]
    private = min(equal, key=lambda row: psnr_of(row, attack) or 0.0)
    cards = st.columns(3)
    cards[0].metric(
        f"Best diagnosis: {label(best, rows)}",
        f"AUROC {best.auroc:.3f}",
        border=True,
        height="stretch",
    )
    cards[1].metric(
        f"As good, most private: {label(private, rows)}",
        f"{psnr_of(private, attack):.1f} dB",
        delta=_against(private, best, attack),
        delta_color="inverse",
        border=True,
        height="stretch",
        help="The lowest PSNR among the arms whose AUROC lies in the best arm's 95 % interval.",
    )
    psnr, ideal = psnr_of(private, attack), private.psnr_diagnosis
    left = "unknown" if psnr is None or ideal is None else f"{psnr - ideal:+.1f} dB"
    cards[2].metric(
        "It gives away, beyond the diagnosis",
        left,
        border=True,
        height="stretch",
        help="PSNR of that arm less what the diagnosis alone gives away; 0 dB is the ideal.",
    )


def _against(row: Row, best: Row, attack: str) -> str | None:
    if row is best:
        return None
    gap = (psnr_of(row, attack) or 0.0) - (psnr_of(best, attack) or 0.0)
    return f"{gap:+.1f} dB against the best diagnosis"


def _table(rows: Sequence[Row], attack: str) -> pd.DataFrame:
    front = {row.arm for row in pareto(rows, attack)}
    return pd.DataFrame([_line(row, rows, row.arm in front) for row in rows])


def _line(row: Row, rows: Sequence[Row], on_front: bool) -> dict[str, object]:
    return {
        "arm": label(row, rows),
        "unbeaten": on_front,
        "AUROC": row.auroc,
        "from": row.auroc_low,
        "to": row.auroc_high,
        **{f"PSNR {name}": row.psnr.get(name) for name in attacks(rows)},
        "strongest": row.psnr_worst,
        "floor": row.psnr_prior,
        "gain": row.psnr_gain,
        "diagnosis alone": row.psnr_diagnosis,
        "redundancy": None if row.redundancy is None else 100 * row.redundancy,
        "weak attacks": ", ".join(name for name in row.psnr if name not in row.certified),
        "audit slices": row.n_audit,
        "patients": row.n_patients,
    }


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    decibel = st.column_config.NumberColumn(format="%.1f")
    names = ["strongest", "floor", "gain", "diagnosis alone"]
    names += [f"PSNR {name}" for name in attacks(rows)]
    share = st.column_config.NumberColumn(format="%.3f")
    return {
        **dict.fromkeys(names, decibel),
        **dict.fromkeys(["AUROC", "from", "to"], share),
        "redundancy": st.column_config.NumberColumn(format="%.0f"),
    }


page()
