"""What pages that need the trained models share: loading them, and choosing among the arms."""

from collections.abc import Sequence

import streamlit as st

from dashboard import choice
from dashboard.reading import cache, runs
from dashboard.reading.runs import Sweep
from dashboard.reading.trained_study import TrainedStudy
from infomri_core.results.frontier import Row, label
from infomri_core.results.study_file import NAME
from infomri_core.system.errors import InputError

_NOT_YET = (
    "The trained arms are kept when training has ended and the attackers are fitted. Come back "
    "when this run is as far; the page Training shows where it stands."
)
_NONE = (
    "This run has kept no trained arms: it ended before its attackers were fitted, or was made "
    "by an older version. `infomri run --resume` finishes it."
)


def the_study(uri: str, sweep: Sweep) -> TrainedStudy:
    """The run's arms and attackers. Where there are none, says why and ends the page."""
    size = cache.files(uri, sweep.run_id).get(NAME)
    if size is None:
        choice.stop(_NOT_YET if sweep.is_running else _NONE)
    try:
        return _load(uri, sweep.run_id, size or 0)
    except InputError as error:
        st.error(str(error), icon=":material/broken_image:")
        st.stop()


@st.cache_resource(max_entries=2, show_spinner="Loading the trained arms")
def _load(uri: str, run_id: str, size: int) -> TrainedStudy:
    return TrainedStudy.of(runs.read_file(uri, run_id, NAME) or b"")


def labels_of(study: TrainedStudy, rows: Sequence[Row]) -> dict[str, str]:
    """Short names for people of the study's arms, by the arms' own."""
    by_arm = {row.arm: label(row, rows) for row in rows}
    return {arm: by_arm.get(arm, arm) for arm in study.arms}


def choose_arms(study: TrainedStudy, rows: Sequence[Row], most: int) -> dict[str, str]:
    """The arms the user wants to see, at most so many; at first the one opened last, the plan's
    first, and the last of each sampler."""
    names = labels_of(study, rows)
    of_sampler = {study.plan.arm(arm).sampler: arm for arm in names}
    opened = [arm for arm in names if arm == st.session_state.get("arm")]
    first = list(dict.fromkeys([*opened, *list(names)[:1], *of_sampler.values()]))[:most]
    chosen = st.multiselect(
        "Arms",
        list(names),
        [arm for arm in names if arm in first],
        format_func=names.__getitem__,
        max_selections=most,
        key=f"arms-{study.plan.digest[:8]}",
    )
    return {arm: names[arm] for arm in chosen}


def choose_arm(study: TrainedStudy, rows: Sequence[Row]) -> str:
    """The one arm the user wants, at first the one opened last."""
    names = labels_of(study, rows)
    opened = st.session_state.get("arm")
    index = study.arms.index(opened) if opened in study.arms else 0
    return st.selectbox("Arm", list(names), index, format_func=names.__getitem__, key="trial-arm")
