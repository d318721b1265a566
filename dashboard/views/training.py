"""Fifth page: how the arms learn, while they do."""

import streamlit as st

from dashboard import choice
from dashboard.figures import curves
from dashboard.reading import cache
from dashboard.reading.runs import Arms, Sweep
from infomri_core.results.frontier import label
from infomri_core.tasks.registry import DEFAULT, task_class

_ENTROPY = {"entropy": "measurement entropy (nats)"}
_RESOURCES = {
    "system/cpu_utilization_percentage": "CPU, %",
    "system/system_memory_usage_percentage": "memory, %",
    "system/gpu_0_utilization_percentage": "GPU, %",
    "system/gpu_0_memory_usage_percentage": "GPU memory, %",
}
REFRESH_SECONDS = 5.0


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    choice.early_end(sweep)
    every = REFRESH_SECONDS if sweep.is_running else None
    st.fragment(_live, run_every=every)(uri, sweep)


def _live(uri: str, sweep: Sweep) -> None:
    now = _now(uri, sweep)
    if sweep.is_running and not now.is_running:
        st.rerun()
    found = cache.arms(uri, sweep.experiment_id, sweep.run_id)
    share = min(1.0, now.rounds_done / max(1, now.n_rounds))
    state = f"Round {now.rounds_done} of {now.n_rounds}"
    st.progress(share, f"{state}, running" if now.is_running else state)
    _events(uri, now)
    for arm, why in found.dropped.items():
        st.warning(f"Arm {arm} was dropped: {why}", icon=":material/warning:")
    for arm, why in found.lost_state.items():
        st.warning(f"Arm {arm} continued with a fresh optimizer: {why}", icon=":material/warning:")
    if now.rounds_done == 0:
        st.info("The curves begin with the end of the first round.", icon=":material/info:")
        return
    names = _names(found)
    samplers = {names[arm]: found.parameters[arm].get("sampler", "") for arm in names}
    drawn = {}
    for term, title in _titles(found).items():
        of_arms = {
            n: cache.curve(uri, found.runs[arm], f"train/{term}") for arm, n in names.items()
        }
        of_arms = {name: curve for name, curve in of_arms.items() if curve.steps}
        if any(value for curve in of_arms.values() for value in curve.values):
            drawn[term] = curves.by_round(of_arms, samplers, title)
    for place, (term, figure) in enumerate(drawn.items()):
        if place % 2 == 0:
            columns = st.columns(2)
        columns[place % 2].plotly_chart(figure, config=choice.export(term), key=f"train/{term}")
    _resources(uri, now)


def _titles(found: Arms) -> dict[str, str]:
    """The terms of the arms' objective by name, as people call them; the suppression is the
    last."""
    kinds = [values.get("task", DEFAULT) for values in found.parameters.values()]
    task = task_class(kinds[0] if kinds else DEFAULT)
    terms = {term: task.loss_titles.get(term, term) for term in task.loss_terms}
    return terms | _ENTROPY


def _now(uri: str, sweep: Sweep) -> Sweep:
    same = (s for s in cache.sweeps(uri, sweep.experiment_id) if s.run_id == sweep.run_id)
    return next(same, sweep)


def _names(found: Arms) -> dict[str, str]:
    by_arm = {row.arm: label(row, found.rows) for row in found.rows}
    return {arm: by_arm.get(arm, arm) for arm in found.names}


def _events(uri: str, sweep: Sweep) -> None:
    events = cache.events(uri, sweep.run_id)
    told = [e for e in events if e["event"] not in ("answer", "silent", "round")]
    if sweep.status == "FAILED" and told and told[-1]["event"] == "failed":
        st.error(f"It ended with: {told[-1]['sentence']}", icon=":material/error:")
    elif sweep.is_running and events:
        st.caption(f"Last: {events[-1].get('sentence', '')}")
    if told:
        with st.expander(f"What happened ({len(told)})", expanded=False):
            lines = [
                {"time": e["time"], "event": e["event"], "what": e.get("sentence", "")}
                for e in told
            ]
            st.dataframe(_timed(lines), hide_index=True)


def _timed(lines: list[dict[str, object]]) -> object:
    import pandas as pd

    table = pd.DataFrame(lines)
    table["time"] = pd.to_datetime(table["time"], unit="s", utc=True).dt.strftime("%H:%M:%S UTC")
    return table


def _resources(uri: str, sweep: Sweep) -> None:
    st.subheader("Resources of the study centre", anchor=False)
    left, right = st.columns(2)
    seconds = {
        name.removeprefix("phase_seconds/"): cache.curve(uri, sweep.run_id, name)
        for name in sorted(sweep.metrics)
        if name.startswith("phase_seconds/")
    }
    if seconds:
        figure = curves.lines(
            {name: list(zip(c.steps, c.values)) for name, c in seconds.items()},
            "round",
            "seconds per phase",
        )
        curves.whole_rounds(figure, sweep.n_rounds)
        left.plotly_chart(figure, config=choice.export("phases"), key="phases")
    used = {
        title: cache.curve(uri, sweep.run_id, name)
        for name, title in _RESOURCES.items()
        if name in sweep.metrics
    }
    if used:
        figure = curves.over_time(used, "share of the machine (%)")
        right.plotly_chart(figure, config=choice.export("resources"), key="resources")
    else:
        right.caption("No system metrics were recorded in this run.")


choice.show("Training", page)
