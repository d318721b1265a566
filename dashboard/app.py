"""The dashboard: ``streamlit run dashboard/app.py -- TRACKING_URI``. Read-only over MLflow."""

import sys
from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"


def main() -> None:
    """Choose the page; each page is a file of its own."""
    st.set_page_config(page_title="InfoMRI Federated", layout="wide")
    st.session_state.setdefault("arguments", sys.argv[1:])
    page = st.navigation(
        [st.Page(PAGES / "frontier.py", title="Frontier", icon=":material/trending_up:")]
    )
    page.run()


main()
