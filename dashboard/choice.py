"""The sidebar every page shares: which store, study and run is looked at."""

from typing import TypeVar

import streamlit as st

from dashboard import runs
from dashboard.runs import StoreUnreachable, Sweep

T = TypeVar("T")
_EMPTY = (
    "No study has been recorded in this store yet. `infomri demo` makes one in about five minutes;"
    " a study of your own starts with `infomri run plan.toml`. Then reload this page."
)
_NO_STORE = (
    "No MLflow store was named. Start the dashboard with `infomri dashboard --run DIR`, or set "
    "`INFOMRI_TRACKING_URI`, for instance to `sqlite:///runs/mlflow.db`."
)


def choose_sweep() -> tuple[str, Sweep]:
    """Store URI and the chosen sweep. Where there is none, says why and ends the page."""
    uri = runs.tracking_uri(st.session_state.get("arguments", []))
    if not uri:
        _stop(_NO_STORE)
    try:
        return uri, _choose(uri)
    except StoreUnreachable as error:
        st.error(str(error), icon=":material/cloud_off:")
        st.stop()


def _choose(uri: str) -> Sweep:
    found = {name: runs.sweeps(uri, key) for name, key in runs.studies(uri).items()}
    found = {name: sweeps for name, sweeps in found.items() if sweeps}
    if not found:
        _stop(_EMPTY)
    with st.sidebar:
        study = st.selectbox("Study", list(found), key="study", bind="query-params")
        sweep = st.selectbox("Run", found[study], format_func=lambda s: s.title, key="run")
        st.caption(f"Read from {uri}")
        st.button("Reload", icon=":material/refresh:", width="stretch")
    return sweep


def _stop(text: str) -> None:
    st.info(text, icon=":material/info:")
    st.stop()
