"""``python -m dashboard [TRACKING_URI]``: serve the dashboard on this machine."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from dashboard.reading import runs
from dashboard.reading.runs import StoreUnreachable

_THEME = {"light.primaryColor": "#0072B2", "dark.primaryColor": "#56B4E9"}
"""No base: the page is light or dark as the reader's machine prefers."""


def command(uri: str, port: int, address: str = "127.0.0.1") -> list[str]:
    """Streamlit's arguments that serve the dashboard for the store ``uri``."""
    options = {
        "server.port": port,
        "server.address": address,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        # Else a docstring beside a constant of a page is printed there.
        "runner.magicEnabled": "false",
        **{f"theme.{key}": value for key, value in _THEME.items()},
    }
    app = Path(__file__).with_name("app.py")
    flags = [f"--{key}={value}" for key, value in options.items()]
    return ["streamlit", "run", str(app), *flags, "--", *([uri] * bool(uri))]


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description=__doc__)
    parser.add_argument("uri", nargs="?", default=os.environ.get("INFOMRI_TRACKING_URI", ""))
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--address", default="127.0.0.1", help="loopback unless behind a proxy")
    arguments = parser.parse_args()
    # Importing MLflow and opening a store take seconds: the first visitor need not wait for them.
    if arguments.uri:
        with contextlib.suppress(StoreUnreachable):
            runs.studies(arguments.uri)
    sys.argv = command(arguments.uri, arguments.port, arguments.address)
    from streamlit.web.cli import main as serve

    serve()


if __name__ == "__main__":
    main()
