"""Sections of the first page that a task's own figures fill: over acceleration, and what arms do
on the study centre's own patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import choice
from dashboard.figures.by_acceleration import by_acceleration
from dashboard.figures.calibration import diagonal
from infomri_core.results.frontier import Row, labels
from infomri_core.tasks.registry import figures_of


def over_acceleration(rows: Sequence[Row]) -> None:
    """The task's figures over acceleration, where there are several; two side by side."""
    if len({row.acceleration for row in rows}) < 2:
        return
    known = {
        figure.title: figure
        for figure in figures_of(rows[0].task)
        if any(row.figure(figure.name).value is not None for row in rows)
    }
    if not known:
        return
    st.subheader("Over acceleration", anchor=False)
    for number, column in enumerate(st.columns(2)[: len(known)]):
        titles = list(known)
        chosen = column.selectbox(
            "Figure", titles, min(number, len(titles) - 1), key=f"over-acceleration-{number}"
        )
        figure = by_acceleration(rows, known[chosen])
        column.plotly_chart(
            figure, config=choice.export("acceleration"), key=f"accelerated-{number}"
        )


def own_patients(entries: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> None:
    """Curves, figures and concerns of the study centre's own held-out patients; nothing of tasks
    that have none."""
    names = labels(rows)
    for entry in entries:
        place = f"{names.get(entry['arm'], entry['arm'])} at {entry['acceleration']:g}x"
        for concern in entry["concerns"]:
            st.warning(f"{place}: {concern}", icon=":material/warning:")
    curved = [entry for entry in entries if entry["curves"]]
    if not curved:
        return
    st.subheader("On the study centre's own patients", anchor=False)
    samplers = {names[row.arm]: row.sampler for row in rows}
    accelerations = sorted({entry["acceleration"] for entry in curved})
    for column, at in zip(st.columns(max(2, len(accelerations))), accelerations):
        here = [entry for entry in curved if entry["acceleration"] == at]
        curves = {names.get(e["arm"], e["arm"]): e["curves"][0] for e in here}
        column.markdown(f"**{here[0]['curves'][0]['title']} at {at:g}x**")
        column.plotly_chart(
            diagonal(curves, samplers), config=choice.export("calibration"), key=f"curve-{at:g}"
        )
    table = [
        {
            "arm": names.get(entry["arm"], entry["arm"]),
            "at": f"{entry['acceleration']:g}x",
            **entry["figures"],
        }
        for entry in curved
    ]
    if any(entry["figures"] for entry in curved):
        number = st.column_config.NumberColumn(format="%.3f")
        columns = dict.fromkeys(curved[0]["figures"], number)
        st.dataframe(pd.DataFrame(table), hide_index=True, column_config=columns)
    st.caption(
        f"{curved[0]['slices']} slices of patients whom no arm and no attack was fitted on. A "
        "marker's area is the share of pixels there; on the dotted line an arm is calibrated."
    )
