"""Second page: where each arm measures k-space, and what that tells."""

import streamlit as st

from dashboard import choice
from dashboard.arm_choice import choose_arms, the_study
from dashboard.figures import kspace_plots
from dashboard.reading import cache
from dashboard.reading.runs import Sweep
from dashboard.reading.trained_study import Drawn, csv, draw, npy

MOST_ARMS = 4
_INTRODUCTION = (
    "Left: how likely each point of k-space is measured. Middle: one mask drawn from that. Right: "
    "how much each point adds to the entropy of the measurement beyond the noise, on average; "
    "training with β > 0 keeps this small. Zero frequency is in the middle."
)

_LOOKING = (
    "{arms}: decides as it measures. There is no mask without a patient, and a mask tells of "
    "the patient; the page of a single scan shows one."
)


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    study = the_study(uri, sweep)
    found = cache.arms(uri, sweep.experiment_id, sweep.run_id)
    st.markdown(_INTRODUCTION)
    names = choose_arms(study, found.rows, MOST_ARMS)
    low, high = (100 * r for r in study.plan.measurement.ratio_range)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    percent = high
    if high > low:
        percent = left.slider(
            "Sampled share of k-space (%)", low, high, (low * high) ** 0.5, 0.1, key="percent"
        )
    seed = right.number_input("Draw number", 0, 9999, 0, key="draw")
    if not names:
        choice.stop("Choose at least one arm.")
    looking = [arm for arm in names if study.plan.arm(arm).options.of_patient]
    if looking:
        st.info(_LOOKING.format(arms=", ".join(names.pop(arm) for arm in looking)))
    if not names:
        st.stop()
    drawn = {text: draw(study, arm, percent / 100, seed) for arm, text in names.items()}
    for column, (text, one) in zip(st.columns(len(drawn)), drawn.items()):
        with column:
            _facts(text, one, percent)
    figure = kspace_plots.sampling(drawn)
    st.plotly_chart(figure, config=choice.export("sampling"), key="sampling")


def _facts(text: str, one: Drawn, percent: float) -> None:
    st.metric(
        text,
        f"{one.n_points} points",
        f"{100 / percent:.1f}x",
        delta_color="off",
        delta_arrow="off",
    )
    st.caption(f"Redundancy {100 * one.redundancy:.1f} % of the points")
    stem = f"{text.replace(' ', '-')}-{percent:.1f}percent"
    with st.popover("Download", icon=":material/download:"):
        for name, array in (("probability", one.probability), ("mask", one.mask)):
            for kind, data in (("npy", npy(array)), ("csv", csv(array))):
                st.download_button(
                    f"{name} as .{kind}",
                    data,
                    f"{stem}-{name}.{kind}",
                    key=f"{text}-{name}-{kind}",
                    on_click="ignore",
                    width="stretch",
                )


choice.show("Sampling", page)
