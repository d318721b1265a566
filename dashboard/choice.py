"""The sidebar every page shares: which store, study and run is looked at."""

from collections.abc import Callable

import streamlit as st

from dashboard.reading import cache, runs
from dashboard.reading.runs import NEWEST, StoreUnreachable, Sweep

_EMPTY = (
    "No study has been recorded in this store yet. `infomri demo` makes one in about five minutes;"
    " a study of your own starts with `infomri run plan.toml`. Then reload this page."
)
_NO_STORE = (
    "No MLflow store was named. Start the dashboard with `infomri dashboard --run DIR`, or set "
    "`INFOMRI_TRACKING_URI`, for instance to `sqlite:///runs/mlflow.db`."
)
EXPORT = {"displaylogo": False}


def show(title: str, body: Callable[[str, Sweep], None]) -> None:
    """A page: its title, the sidebar, and ``body`` of store URI and sweep.

    Where there is nothing to show, or MLflow does not answer, the page says so.
    """
    st.title(title)
    uri = runs.tracking_uri(st.session_state.get("arguments", []))
    if not uri:
        stop(_NO_STORE)
    try:
        sweep = _choose(uri)
        _say_missing(uri, sweep)
        body(uri, sweep)
    except StoreUnreachable as error:
        st.error(str(error), icon=":material/cloud_off:")


def _say_missing(uri: str, sweep: Sweep) -> None:
    """Name the folder where the files of a run that ended should lie, and do not."""
    finished = sweep.status == "FINISHED"
    missing = "" if not finished else cache.missing_files(uri, sweep.run_id)
    if missing:
        st.warning(
            f"This run's files are not at `{missing}`, nor beside the MLflow store. Its figures "
            "are shown; reports, pictures and trained arms are not. Copy that folder to the same "
            "place below the store's own.",
            icon=":material/folder_off:",
        )


def stop(text: str) -> None:
    """Say ``text`` and end the page."""
    st.info(text, icon=":material/info:")
    st.stop()


def export(name: str) -> dict[str, object]:
    """Settings of a figure whose camera button saves ``name`` as SVG, for a paper."""
    return EXPORT | {"toImageButtonOptions": {"format": "svg", "filename": name}}


def early_end(sweep: Sweep) -> None:
    """Say so where a run failed, was stopped, or has not been heard of for long."""
    if sweep.status in ("FAILED", "KILLED"):
        st.error(
            f"This run ended early ({sweep.status.lower()}) after round {sweep.rounds_done} of "
            f"{sweep.n_rounds}. `infomri run --resume {sweep.name}` continues it.",
            icon=":material/error:",
        )
    if sweep.is_silent:
        st.warning(
            f"This run's process has not been heard of since {sweep.heard:%Y-%m-%d %H:%M}, after "
            f"round {sweep.rounds_done} of {sweep.n_rounds}: it was stopped, or cannot reach "
            f"MLflow. Where it does not run any more, `infomri run --resume {sweep.name}` "
            "continues it.",
            icon=":material/hourglass_disabled:",
        )


def _choose(uri: str) -> Sweep:
    found = _studies(uri)
    if not found:
        stop(_EMPTY)
    with st.sidebar:
        study = st.selectbox("Study", list(found), key="study", bind="query-params")
        sweeps = cache.sweeps(uri, found[study])
        if not sweeps:
            stop(f"The experiment {study} holds no study of InfoMRI. Choose another.")
        chosen = st.selectbox(
            "Run", [s.run_id for s in sweeps], format_func=_titles(sweeps).__getitem__, key="run"
        )
        if len(sweeps) == NEWEST:
            st.caption(f"The newest {NEWEST} runs of this study.")
        st.caption(f"Read from {uri}")
        st.button("Reload", icon=":material/refresh:", width="stretch", on_click=cache.clear)
    return next(s for s in sweeps if s.run_id == chosen)


def _studies(uri: str) -> dict[str, str]:
    """The studies, asked for again where the page's address names one not yet known."""
    found = cache.studies(uri)
    if st.query_params.get("study", next(iter(found), None)) not in found:
        cache.studies.clear()
        found = cache.studies(uri)
    return found


def _titles(sweeps: list[Sweep]) -> dict[str, str]:
    return {s.run_id: s.title for s in sweeps}
