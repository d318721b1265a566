"""First page: what the model's answer is worth, against what the strongest attack sees."""

from collections.abc import Sequence

import streamlit as st

from dashboard import choice
from dashboard.axes import (
    PRIVACY,
    WORST,
    Axis,
    Point,
    choosable,
    defined,
    place,
    utility_axes,
)
from dashboard.figures import frontier
from dashboard.figures.frontier import cell_of
from dashboard.operating import Suggestion, default_least, suggest
from dashboard.reading import cache
from dashboard.reading.runs import Arms, Sweep
from dashboard.tables import arm_facts, frontier_columns, frontier_table
from dashboard.task_figures import over_acceleration, own_patients
from infomri_core.report.verdict import verdict
from infomri_core.results import trainings
from infomri_core.results.frontier import Row, answer_in, attacks, label, psnr_of, utility_of
from infomri_core.results.measuring_less import sentence
from infomri_core.results.operating_point import guessing, linkage_sentence, operating_point

_INTRODUCTION = (
    "Each point is one way of sampling k-space. **Up** is a better {answer}, **left** is a "
    "poorer reconstruction for the attacker of the released measurement. Small points measure "
    "less, hollow ones have no suppression. Faded points are worse on both measures than another. "
    "Click a point to open its run."
)
OWN_PATIENTS = "own_patients"
ALL = 0.0
"""The switch that shows all accelerations together."""
_READING = """
- **{utility}** is how well the task is done ({scale}): {reading}. Bars are 95 % intervals over
  patients.
- **PSNR** is how well an attack rebuilds the image from the sampled k-space. A weak attack proves
  nothing, so the strongest one counts. An attack marked weak failed a test on images that it
  should have rebuilt.
- **Floor** (dashed line): the best answer of someone who measured nothing. **Gain** is what the
  measurement gave the attacker beyond it.
- **Ideal** (dotted line): what the {answer} alone gives away about the image. An arm on this
  line gives these attacks nothing beyond the {answer} it was made for.
- **Ceiling** (horizontal line): the {answer} with all of k-space measured. Where the plan has an
  acceleration of 1, it is the best arm there; else, where the audit has trained a reader of full
  images on its own patients, it is that reader's {utility} on them, which an arm may well exceed.
- **Redundancy** is the share of sampled points whose conjugate partner was sampled as well.
- All of this is about *released measurements*. It does not protect the model's weights.
"""


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    found = cache.arms(uri, sweep.experiment_id, sweep.run_id)
    for arm, why in found.dropped.items():
        st.warning(f"Arm {arm} was dropped: {why}", icon=":material/warning:")
    for arm, why in found.lost_state.items():
        st.warning(f"Arm {arm} continued with a fresh optimizer: {why}", icon=":material/warning:")
    choice.early_end(sweep)
    if found.rows:
        _frontier(uri, sweep, found)
        _for_a_paper(uri, sweep)
    elif sweep.is_running:
        st.info(
            f"This study is running: round {sweep.rounds_done} of {sweep.n_rounds}, "
            f"{len(found.names)} arms. The frontier appears when the sites have scored them; "
            "the page Training shows how they learn.",
            icon=":material/hourglass_top:",
        )
    elif sweep.status == "FINISHED":
        st.info("This run has recorded no frontier.", icon=":material/info:")


def _first_words(rows: Sequence[Row]) -> None:
    """What the study comes to, before any picture: the arm one would approve, and its price."""
    point = operating_point(rows)
    if point is None:
        return
    said = verdict(rows, {})
    figure = utility_of(rows)
    score = f"{figure.title} {figure.form(point.utility.value or 0.0)}"
    st.markdown(
        f"**The operating point is {label(point, rows)} at {point.acceleration:g}x: {score}"
        f"{', not distinguishable from guessing' if guessing(point) else ''}, PSNR "
        f"{point.psnr_worst or 0.0:.1f} dB of the strongest attack, '{point.worst_attack}'. "
        f"{said.headline.rstrip('.')}.** {linkage_sentence(point)}"
    )


def _frontier(uri: str, sweep: Sweep, found: Arms) -> None:
    _first_words(found.rows)
    told = cache.results(uri, sweep.run_id)
    if rival := sentence(found.rows, told.meta if told else {}):
        st.markdown(rival)
    if worth := trainings.sentence(found.rows):
        st.markdown(worth)
    st.markdown(_INTRODUCTION.format(answer=answer_in(found.rows)))
    rows, attack, x, y = _switches(found.rows)
    points = place(rows, x, y, attack)
    if choosable(points):
        _suggestion(choosable(points), x, y, attack)
    else:
        st.warning(
            f"No arm has both {y.name} and {x.name} here: there are too few patients, or none "
            "with the finding, or this attack was not run.",
            icon=":material/help:",
        )
    figure = frontier.frontier(rows, attack, x, y, found.rows)
    clicked = st.plotly_chart(
        figure,
        config=choice.export("frontier"),
        key="frontier",
        on_select="rerun",
        selection_mode="points",
    )
    _opened(uri, found, rows, [p.get("customdata") for p in clicked.selection.points])
    st.dataframe(
        frontier_table(rows, x, y, attack),
        hide_index=True,
        column_config=frontier_columns(rows),
    )
    answer = answer_in(found.rows)
    alone = any(row.psnr_answer is not None for row in found.rows)
    floors = f"floor, gain and {answer} alone" if alone else "floor and gain"
    st.caption(f"PSNR, {floors} in dB; redundancy in percent.")
    over_acceleration(found.rows)
    own_patients((told.meta.get(OWN_PATIENTS) if told else None) or [], found.rows)
    with st.expander("How to read this", expanded=False):
        axis = utility_of(found.rows)
        words = {
            "utility": axis.title,
            "scale": axis.scale,
            "reading": axis.reading,
            "answer": answer,
        }
        st.markdown(_READING.format(**words))


def _for_a_paper(uri: str, sweep: Sweep) -> None:
    """The study's own figure of all accelerations, as vectors and as pixels."""
    sizes = cache.files(uri, sweep.run_id)
    names = [name for name in ("frontier.svg", "frontier.png") if name in sizes]
    if names:
        with st.popover("Figure for a paper", icon=":material/download:"):
            for name in names:
                data = cache.file(uri, sweep.run_id, name, sizes[name])
                st.download_button(name, data, f"{sweep.name}-{name}", on_click="ignore")
            st.caption("The camera above the figure saves the view as it is, as SVG.")


def _switches(everything: Sequence[Row]) -> tuple[list[Row], str, Axis, Axis]:
    accelerations = sorted({row.acceleration for row in everything})
    options = [ALL, *accelerations] if len(accelerations) > 1 else accelerations
    chosen = st.segmented_control(
        "Acceleration",
        options,
        default=options[0],
        format_func=lambda a: "all" if a == ALL else f"{a:g}x",
        key="acceleration",
        required=True,
    )
    columns = st.columns([3, 2, 2], vertical_alignment="bottom")
    attack = columns[0].selectbox(
        "Attack",
        [WORST, *attacks(everything)],
        format_func=lambda name: "strongest" if name == WORST else name,
        key="attack",
    )
    axes = utility_axes(everything)
    utility = {axis.name: axis for axis in defined(axes, everything) or axes[:1]}
    privacy = {axis.name: axis for axis in defined(PRIVACY, everything)} or {"PSNR": PRIVACY[0]}
    y = columns[1].selectbox("Utility by", list(utility), key="utility")
    x = columns[2].selectbox("Attacker's image by", list(privacy), key="privacy")
    rows = [row for row in everything if chosen in (ALL, row.acceleration)]
    return rows, attack, privacy[x], utility[y]


def _suggestion(points: Sequence[Point], x: Axis, y: Axis, attack: str) -> None:
    left, middle, right = st.columns([2, 3, 6], vertical_alignment="center")
    least = left.number_input(
        f"{y.name} at least",
        *y.limits,
        round(default_least(points, y, attack), 3),
        0.01,
        format="%.3f",
        key=f"least-{y.name}-{st.session_state['acceleration']:g}",
        help="Starts at the lower end of the best arm's 95 % interval.",
    )
    found = suggest(points, x, y, least, attack)
    if found is None:
        best = max(point.y for point in points)
        right.warning(f"No arm reaches {y.name} {y.form(least)}; the best has {y.form(best)}.")
        return
    _card(middle, found, points, x)
    right.markdown(f"**Suggested operating point.** {found.price}")


def _card(
    place_: "st.delta_generator.DeltaGenerator",
    found: Suggestion,
    points: Sequence[Point],
    x: Axis,
) -> None:
    gap = found.point.x - found.best.x
    row = found.point.row
    place_.metric(
        f"{label(row, [p.row for p in points])} at {row.acceleration:g}x",
        x.form(found.point.x),
        delta=None if found.point is found.best else f"{x.form(gap)} against the best",
        delta_color="inverse",
        border=True,
    )


def _opened(uri: str, found: Arms, rows: Sequence[Row], clicked: Sequence[object]) -> None:
    """The run of the clicked point; ``clicked`` holds the customdata of selected points."""
    cells = [tuple(cell) for cell in clicked if isinstance(cell, list | tuple)]
    row = next((row for row in rows if cell_of(row) in cells), None)
    if row is None:
        return
    st.session_state["arm"] = row.arm
    with st.container(border=True):
        st.subheader(f"Run of {label(row, rows)}", anchor=False)
        left, right = st.columns([3, 2])
        left.dataframe(arm_facts(found, row), hide_index=True, height=260)
        psnr = psnr_of(row, WORST)
        right.markdown(
            f"Strongest attack: **{row.worst_attack or 'none'}**"
            + ("" if psnr is None else f", {psnr:.1f} dB at {row.acceleration:g}x")
        )
        right.page_link("views/sampling.py", label="Its masks", icon=":material/grain:")
        right.page_link("views/audit.py", label="Attacks on it", icon=":material/policy:")
        right.page_link(
            "views/single_scan.py", label="Try it on a scan", icon=":material/biotech:"
        )
        if uri.startswith("http"):
            right.link_button("Open in MLflow", f"{uri}/#/runs/{found.runs[row.arm]}")
        right.caption(f"MLflow run {found.runs[row.arm]}")


choice.show("Privacy and utility", page)
