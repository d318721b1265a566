"""Sixth page: a scan of one's own through mask, attack and model, on this machine."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import choice
from dashboard.arm_choice import choose_arm, the_study
from dashboard.axes import WORST, attack_of
from dashboard.reading import cache, outlines, single_scan
from dashboard.reading.runs import Sweep
from dashboard.reading.trained_study import TrainedStudy
from infomri_core.inference.reconstruct import Rebuilt
from infomri_core.inference.scans import Scan, open_scan
from infomri_core.results.frontier import Row
from infomri_core.system.errors import InputError

_INTRODUCTION = (
    "One slice as a site would measure it, what the attacker makes of that measurement, and the "
    "{answer}. Everything is computed on the machine that runs this dashboard; nothing is kept "
    "or sent. **Not for clinical use.**"
)
PICTURE = 230
"""Pixels across a picture: four stand side by side on a wide screen, two on a narrow one."""


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    study = the_study(uri, sweep)
    rows = cache.arms(uri, sweep.experiment_id, sweep.run_id).rows
    st.markdown(_INTRODUCTION.format(answer=study.plan.task.answer))
    try:
        scan = _scan(study)
        if scan is not None:
            _shown(study, rows, scan)
    except InputError as error:
        st.error(str(error), icon=":material/broken_image:")


def _scan(study: TrainedStudy) -> Scan | None:
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    height, width = study.plan.task.shape
    source = left.segmented_control(
        "Scan", ["phantom", "file"], default="phantom", key="source", required=True
    )
    if source == "phantom":
        return single_scan.phantom(
            study, right.number_input("Patient number", 0, 9999, 1, key="seed")
        )
    dropped = right.file_uploader(
        f"A slice or volume of {height} x {width} (.h5, .npy or .png)",
        ["h5", "npy", "png"],
        key="file",
    )
    as_trained = left.toggle(
        "k-space as magnitude image",
        True,
        help="A file of complex numbers is taken for k-space. Training never saw its phase.",
    )
    if dropped is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{Path(dropped.name).suffix.lower()}"
        path.write_bytes(dropped.getvalue())
        try:
            return open_scan(str(path), (height, width), as_trained, kspace=True)
        except InputError as error:
            raise InputError(dropped.name, error.expected, error.got, error.remedy) from None


def _shown(study: TrainedStudy, rows: tuple[Row, ...], scan: Scan) -> None:
    columns = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    with columns[0]:
        arm = choose_arm(study, rows)
    low, high = study.plan.measurement.ratio_range
    offered = sorted({*study.plan.measurement.accelerations, 1 / low, 1 / high})
    evaluated = max(study.plan.measurement.accelerations)
    acceleration = columns[1].select_slider(
        "Acceleration", offered, evaluated, format_func=lambda a: f"{a:.3g}x", key="trial-at"
    )
    n = single_scan.n_slices(scan)
    number = columns[2].number_input("Slice", 1, n, 1 + n // 2 if n > 1 else 1, key="slice") - 1
    n_draws = columns[3].number_input("Measurements", 1, 64, 8, key="draws")
    attack = strongest(study, rows, arm, acceleration)
    done = single_scan.run(study, scan, number, arm, acceleration, attack, n_draws, seed=number)
    _pictures(done, acceleration)
    if done.images is not None:
        _reconstruction(done.images)
    if study.plan.task.outline_names:
        _outlines(study, scan, number, arm, acceleration, done.truth)
    _diagnosis(study, done, n_draws)
    note = scan.note[:1].upper() + scan.note[1:]
    st.caption(f"{note}. Arm {arm}; weights after round {study.file.round}.")


def strongest(study: TrainedStudy, rows: tuple[Row, ...], arm: str, acceleration: float) -> str:
    """The attack that rebuilt best against the arm, at the nearest acceleration that was scored;
    where none was, the first that was fitted."""
    scored = [row for row in rows if row.arm == arm and row.worst_attack]
    nearest = min(scored, key=lambda row: abs(row.acceleration - acceleration), default=None)
    name = "" if nearest is None else attack_of(nearest, WORST)
    attacks = study.plan.evaluation.attacks
    return name if name in study.adversaries.attacks else attacks[0]


def _side_by_side(shown: list[tuple[np.ndarray, str]]) -> None:
    """Pictures of one size with their captions; what a narrow screen has no room for is below."""
    with st.container(horizontal=True):
        for image, caption in shown:
            st.image(image, caption, width=PICTURE)


def _pictures(done: single_scan.Trial, acceleration: float) -> None:
    shown = (
        (done.truth, "The scan"),
        (done.mask, f"Measured points of k-space, {acceleration:.3g}x"),
        (done.zero_filled, "Zero-filled image"),
        (done.rebuilt, f"Rebuilt by '{done.attack}', the strongest attack: {done.psnr:.1f} dB"),
    )
    _side_by_side([(single_scan.picture(image), caption) for image, caption in shown])


def _reconstruction(found: Rebuilt) -> None:
    """The arm's own image, its error and the deviation it predicts, both on one scale."""
    error, deviation = abs(found.mean - found.truth)[0], found.deviation[0]
    most = max(float(error.max()), float(deviation.max()), 1e-6)
    st.subheader("Reconstruction", anchor=False)
    shown = (
        (found.mean[0], f"This arm's reconstruction: {found.psnr[0]:.1f} dB"),
        (error / most, f"Its error; white is {most:.2g}"),
        (deviation / most, "The standard deviation it predicts, on the same scale"),
    )
    _side_by_side([(single_scan.picture(image), caption) for image, caption in shown])
    st.caption("This arm was trained to rebuild images: its measurement is one of the patient.")


def _outlines(
    study: TrainedStudy, scan: Scan, number: int, arm: str, acceleration: float, truth: np.ndarray
) -> None:
    st.subheader("Outlines", anchor=False)
    n_samples = st.slider("Samples", 2, 64, 16, key="samples")
    found = outlines.outlines_of(*(study, scan, number, arm, acceleration, n_samples), seed=number)
    samples, drawn = found.samples[0], outlines.drawn
    seed = int(st.session_state.get("seed", 1))
    phantom = st.session_state["source"] == "phantom"
    raters = outlines.raters_of(study, seed, number) if phantom else None
    for label, name in enumerate(study.plan.task.outline_names, 1):
        shown = [
            (drawn(found.seen[0], samples, label), f"{n_samples} samples of '{name}'"),
            (drawn(truth, samples, label), "The same on the scan"),
        ]
        if raters is not None and len(raters):
            who = f"{len(raters)} simulated raters on the scan"
            shown.append((drawn(truth, raters, label), who))
        probability = single_scan.picture(found.probability[0, label - 1])
        pictures = [(single_scan.coloured(picture), caption) for picture, caption in shown]
        _side_by_side([*pictures, (probability, "Probability, black 0 to white 1")])
        left, right = st.columns(2)
        own = outlines.spread(samples, label)
        left.metric("Disagreement of two samples, 1 - IoU", f"{own:.3f}", border=True)
        if raters is not None and len(raters) > 1:
            other = outlines.spread(raters, label)
            right.metric("Disagreement of two raters, 1 - IoU", f"{other:.3f}", border=True)
    st.caption(
        "One measurement, outlined repeatedly: where the red lines diverge, it does "
        "not say where a rater would draw. Samples should differ as raters do; how well that "
        "holds over all patients is on the frontier, as 1 - GED."
    )


def _diagnosis(study: TrainedStudy, done: single_scan.Trial, n_draws: int) -> None:
    task = study.plan.task
    what = "probability" if task.answer_prefix == "p" else task.answer_prefix
    st.subheader(
        study.plan.task.answer.capitalize() if done.images is None else "In one number",
        anchor=False,
    )
    st.dataframe(
        pd.DataFrame(single_scan.answers(task.answer_names, done.diagnosis, what)),
        hide_index=True,
        column_config={
            "probability": st.column_config.ProgressColumn(
                format="%.2f", min_value=0.0, max_value=1.0
            ),
            "± over draws": st.column_config.NumberColumn(format="%.3f"),
        },
    )
    what = "1 measurement" if n_draws == 1 else f"{n_draws} measurements"
    st.caption(
        f"Mean over {what} with fresh masks and noise; ± is their standard deviation, which says "
        "how much the answer depends on the draw, not how often it is right. Together they saw "
        f"{int(done.diagnosis.n_points[0])} points of k-space."
    )


choice.show("Try it", page)
