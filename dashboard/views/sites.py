"""Fourth page: the hospitals, what they did and what it took."""

import streamlit as st

from dashboard import choice
from dashboard.figures import site_plots
from dashboard.reading import cache, sites
from dashboard.reading.record import Results
from dashboard.reading.runs import Sweep
from dashboard.tables import site_columns, site_scores
from infomri_core.dp.outside_epsilon import summed_sentence
from infomri_core.results.frontier import utility_of

_NOTHING = (
    "No site has answered in this run yet, or it was made by a version that did not report "
    "single sites."
)
_BUDGET = (
    "Epsilon spent: by this study's updates at each site, at the plan's delta, rounded up by the "
    "site itself. All studies: what every study has spent there, of the hospital's own budget, at "
    "its own delta (`[policy] max_epsilon` and `max_delta` in its site.toml); reported where the "
    "hospital wants it (`report_budget`). A site whose budget would be passed refuses before "
    "it starts, and is shown above as refused."
)


def page(uri: str, sweep: Sweep) -> None:
    """Draw the page."""
    choice.early_end(sweep)
    every = 5.0 if sweep.is_running else None
    st.fragment(_live, run_every=every)(uri, sweep)
    found = cache.results(uri, sweep.run_id)
    if found is not None:
        _local(found)


def _live(uri: str, sweep: Sweep) -> None:
    found = sites.sites_of(cache.events(uri, sweep.run_id))
    if not found:
        st.info(_NOTHING, icon=":material/info:")
        return
    out = [site.name for site in found if "answered" not in list(site.rounds.values())[-1:]]
    if sweep.is_running and out:
        st.warning(f"Not in the last round: {', '.join(out)}", icon=":material/warning:")
    st.plotly_chart(site_plots.rounds(found), config=choice.export("rounds"), key="rounds")
    columns = {
        "sent, MB": st.column_config.NumberColumn(format="%.1f"),
        "received, MB": st.column_config.NumberColumn(format="%.1f"),
        "epsilon spent": st.column_config.NumberColumn(format="%.3f"),
        "budget used": st.column_config.ProgressColumn(
            format="%.0f %%", min_value=0, max_value=100
        ),
        "last seen": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
    }
    st.dataframe(sites.table(found), hide_index=True, column_config=columns)
    private = any(site.epsilon is not None for site in found)
    st.caption(_BUDGET if private else "This study trains without differential privacy.")
    left, right = st.columns(2)
    left.plotly_chart(
        site_plots.phases(found, False), config=choice.export("seconds"), key="seconds"
    )
    right.plotly_chart(site_plots.phases(found, True), config=choice.export("bytes"), key="bytes")


def _local(found: Results) -> None:
    summed = summed_sentence(found.meta)
    if summed:
        st.info(summed, icon=":material/info:")
    table = site_scores(found.meta, found.rows)
    if table.empty:
        return
    st.subheader("Each site's own figures", anchor=False)
    at = st.segmented_control(
        "Acceleration",
        sorted(set(table["acceleration"]), key=lambda text: float(text[:-1])),
        default=table["acceleration"].iloc[-1],
        key="site-acceleration",
        required=True,
    )
    shown = table[table["acceleration"] == at].drop(columns="acceleration")
    st.dataframe(shown, hide_index=True, column_config=site_columns(found.rows))
    st.caption(
        f"{utility_of(found.rows).title} with its 95 % interval over the site's validation "
        "patients; PSNR of each attack in dB. A site lets them leave only for at least its "
        "minimum cohort."
    )


choice.show("Sites", page)
