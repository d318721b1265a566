"""The dashboard: ``streamlit run dashboard/app.py -- TRACKING_URI``. Read-only over MLflow."""

import sys
from pathlib import Path

import streamlit as st

# Not called pages: Streamlit would run a file of that folder by itself, without this one.
FOLDER = Path(__file__).parent / "views"
PAGES = (
    ("frontier", "Frontier", "trending_up"),
    ("sampling", "Sampling", "grain"),
    ("audit", "Audit", "policy"),
    ("sites", "Sites", "domain"),
    ("training", "Training", "monitoring"),
    ("trial", "Try it", "biotech"),
)


def main() -> None:
    """Choose the page; each page is a file of its own."""
    st.set_page_config(page_title="InfoMRI Federated", layout="wide")
    st.session_state.setdefault("arguments", sys.argv[1:])
    page = st.navigation(
        [
            st.Page(FOLDER / f"{name}.py", title=title, icon=f":material/{icon}:")
            for name, title, icon in PAGES
        ]
    )
    page.run()


main()
