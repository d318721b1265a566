"""Third page: every attack, whether it can be trusted, and what follows from it."""

import streamlit as st

from dashboard import choice, tables
from dashboard.figures import curves
from dashboard.figures.attack_plots import intervals
from dashboard.reading import cache
from dashboard.reading.record import Results
from dashboard.reading.runs import Sweep
from infomri_core.dp.outside_epsilon import epsilon_sentence, scores_sentence
from infomri_core.report.verdict import verdict
from infomri_core.results.frontier import FEDERATED, label

_TONES = {"void": st.warning, "asks": st.info, "beyond": st.error, "within": st.success}
_ICONS = {"void": "block", "asks": "image", "beyond": "visibility", "within": "shield"}
REPORT = "privacy-report.html"


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    choice.early_end(sweep)
    found = cache.results(uri, sweep.run_id)
    if found is None or not found.rows:
        choice.stop(
            "This run is not audited yet: that happens after the last round, when the attackers "
            "are fitted and the sites score them."
        )
        return
    _verdict(uri, sweep, found)
    _attacks(found)
    _differences(found)
    _trust(found)
    _examples(uri, sweep)
    _linkage(found)
    _sites(found)


def _verdict(uri: str, sweep: Sweep, found: Results) -> None:
    said = verdict(found.rows, found.meta)
    _TONES[said.state](f"**{said.headline}**", icon=f":material/{_ICONS[said.state]}:")
    st.markdown("\n\n".join(said.sentences))
    private = epsilon_sentence(found.meta.get("privacy"))
    if private:
        st.markdown(private)
    if "evaluation_noise" in found.meta:
        bounded = found.meta["evaluation_noise"]
        (st.markdown if bounded else st.warning)(scores_sentence(bounded))
    size = cache.files(uri, sweep.run_id).get(REPORT)
    if size is not None:
        st.download_button(
            "Download the privacy report",
            cache.file(uri, sweep.run_id, REPORT, size),
            f"privacy-report-{sweep.name}.html",
            "text/html",
            icon=":material/download:",
            type="primary",
            on_click="ignore",
        )


def _attacks(found: Results) -> None:
    st.subheader("What each attack rebuilds", anchor=False)
    accelerations = sorted({row.acceleration for row in found.rows})
    at = st.segmented_control(
        "Acceleration",
        accelerations,
        default=accelerations[-1],
        format_func=lambda a: f"{a:g}x",
        key="audit-acceleration",
        required=True,
    )
    rows = [r for r in found.rows if r.acceleration == at and r.training == FEDERATED]
    names = {row.arm: label(row, rows) for row in rows}
    opened = st.session_state.get("arm")
    index = list(names).index(opened) if opened in names else 0
    arm = st.selectbox("Arm", list(names), index, format_func=names.__getitem__, key="audit-arm")
    row = next(row for row in rows if row.arm == arm)
    st.plotly_chart(intervals(row), config=choice.export("attacks"), key="attacks")
    with st.expander("Every arm, acceleration and attack"):
        st.dataframe(
            tables.attack_table(found.rows),
            hide_index=True,
            column_config=tables.attack_columns(found.rows),
        )
        st.caption("PSNR and differences in dB; SSIM and NMSE without unit. 95 % intervals.")


def _differences(found: Results) -> None:
    table = tables.difference_table(found.meta, found.rows)
    if not table.empty:
        st.subheader("What differs by more than chance", anchor=False)
        st.dataframe(table, hide_index=True)
        st.caption(
            "The second minus the first, with the 95 % interval of the difference: paired by "
            "groups of patients, or, under noise, as wide as both intervals together."
        )


def _trust(found: Results) -> None:
    st.subheader("Can these attacks be trusted?", anchor=False)
    left, right = st.columns(2)
    histories = found.meta.get("attack_histories") or {}
    steps = {name: [(s[0], s[2]) for s in history] for name, history in histories.items()}
    figure = curves.by_attack(steps, "optimizer steps", "PSNR on held-out audit images (dB)")
    left.plotly_chart(figure, config=choice.export("convergence"), key="convergence")
    left.caption("A curve that still rises is a weak attacker.")
    sizes = {
        name: values.get("size_curve") or []
        for name, values in (found.meta.get("certificates") or {}).items()
    }
    figure = curves.by_attack(sizes, "audit images fitted on", "PSNR on the control mask (dB)")
    right.plotly_chart(figure, config=choice.export("audit-size"), key="audit-size")
    right.caption("An attack that still gains with more images needs a larger audit set.")
    st.dataframe(tables.certificate_table(found.meta), hide_index=True)


def _examples(uri: str, sweep: Sweep) -> None:
    size = cache.files(uri, sweep.run_id).get("examples.png")
    if size is None:
        return
    st.subheader("What they look like", anchor=False)
    st.image(cache.file(uri, sweep.run_id, "examples.png", size), width="stretch")
    st.caption(
        "Patients of the study centre's own audit set, on whom no attacker was fitted. No "
        "hospital's image is here, or anywhere on this dashboard."
    )


def _linkage(found: Results) -> None:
    table = tables.linkage_table(found.rows)
    if not table.empty:
        st.subheader("Can the patient be found among candidate scans?", anchor=False)
        st.dataframe(
            table,
            hide_index=True,
            column_config={"candidates": st.column_config.NumberColumn(format="%.0f")},
        )
        st.caption("Share of measurements whose patient was ranked first, and AUC of the match.")


def _sites(found: Results) -> None:
    table = tables.site_scores(found.meta, found.rows)
    if not table.empty:
        st.subheader("Site by site", anchor=False)
        st.dataframe(table, hide_index=True, column_config=tables.site_columns(found.rows))


choice.show("Audit", page)
