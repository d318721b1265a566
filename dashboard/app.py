"""The dashboard: ``streamlit run dashboard/app.py -- TRACKING_URI``. Read-only over MLflow."""

import sys
from pathlib import Path

import streamlit as st

from infomri_core.plugins import registry as plugins

# Not called pages: Streamlit would run a file of that folder by itself, without this one.
FOLDER = Path(__file__).parent / "views"
SIDEBAR_PIXELS = 230
# From 800 pixels of width on: columns wrap before their figures are cut.
STYLE = """
[data-testid="stMainBlockContainer"] { padding: 3.5rem clamp(1rem, 4vw, 5rem) 3rem; }
[data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
[data-testid="stColumn"] { min-width: min(100%, 8rem); }
[data-testid="stColumn"]:has([data-testid="stMetric"]) { min-width: min(100%, 13rem); }
[data-testid="stColumn"]:has([data-testid="stImage"]) { min-width: min(100%, 11rem); }
[data-testid="stColumn"]:has([data-testid="stPlotlyChart"]) { min-width: min(100%, 22rem); }
"""
PAGES = (
    ("frontier", "Frontier", "trending_up"),
    ("sampling", "Sampling", "grain"),
    ("audit", "Audit", "policy"),
    ("sites", "Sites", "domain"),
    ("training", "Training", "monitoring"),
    ("single_scan", "Try it", "biotech"),
)


def main() -> None:
    """Choose the page; each page is a file of its own."""
    plugins.allow_installed()
    st.set_page_config(
        page_title="InfoMRI Federated",
        # A file of our own: the icon of a page would be fetched from a font server.
        page_icon=FOLDER.parent / "icon.png",
        layout="wide",
        initial_sidebar_state=SIDEBAR_PIXELS,
    )
    st.html(f"<style>{STYLE}</style>")
    st.session_state.setdefault("arguments", sys.argv[1:])
    page = st.navigation(
        [
            st.Page(FOLDER / f"{name}.py", title=title, icon=f":material/{icon}:")
            for name, title, icon in PAGES
        ]
    )
    page.run()


main()
