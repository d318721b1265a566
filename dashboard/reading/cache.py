"""Questions to MLflow, asked once in a while however often a page is drawn."""

import streamlit as st

from dashboard.reading import runs
from dashboard.reading.record import Event, Results, parse_events, parse_results

SECONDS = 10
_keep = st.cache_data(ttl=SECONDS, max_entries=64, show_spinner=False)
_keep_long = st.cache_data(ttl=3600, max_entries=16, show_spinner="Reading the run's files")

studies = _keep(runs.studies)
sweeps = _keep(runs.sweeps)
arms = _keep(runs.arms)
curve = st.cache_data(ttl=SECONDS, max_entries=4096, show_spinner=False)(runs.curve)
files = _keep(runs.files)
missing_files = _keep(runs.missing_files)


@_keep
def results(uri: str, run_id: str) -> Results | None:
    """What the run's ``results.json`` says; None before there is one."""
    data = runs.read_file(uri, run_id, "results.json")
    return None if data is None else parse_results(data)


@_keep
def events(uri: str, run_id: str) -> list[Event]:
    """What has happened in the run, as far as it was sent to MLflow."""
    return parse_events(runs.read_file(uri, run_id, "events.jsonl") or b"")


@_keep_long
def file(uri: str, run_id: str, name: str, size: int) -> bytes:
    """The bytes of a run's file of that ``size``, which changes with its content."""
    return runs.read_file(uri, run_id, name) or b""


def clear() -> None:
    """Forget everything: the next question goes to MLflow."""
    st.cache_data.clear()
