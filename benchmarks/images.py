"""The pictures in docs/images, made of one demo's folder: ``make images ARGS='--run FOLDER'``.

Without ``--run`` the demo runs first. The frontier is drawn from its
``results.json``; the dashboard's pages are taken in Chromium, where it is installed.
"""

import argparse
import contextlib
import os
import shutil
import time
from pathlib import Path
from subprocess import run
from urllib.request import urlopen

from dashboard.app import PAGES
from fl_server.report.frontier_figure import frontier
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from infomri_core.results.frontier import read_results

_WAIT_SECONDS = 120


def draw(folder: Path, out: Path) -> list[Path]:
    """``frontier.png`` of the demo in ``folder``, and where Chromium is the dashboard's pages."""
    out.mkdir(parents=True, exist_ok=True)
    rows, _ = read_results(folder / "results.json")
    picture, vector = frontier(rows, out / "frontier")
    vector.unlink()
    return [picture, *(_pages(folder, out) if shutil.which("chromium") else [])]


def _pages(folder: Path, out: Path) -> list[Path]:
    from playwright.sync_api import expect, sync_playwright

    port, made = free_port(), []
    command = [processes.script("infomri"), "dashboard", "--run", str(folder), "--port", str(port)]
    server = processes.start(command, folder / "dashboard.log", dict(os.environ))
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
            browser = playwright.chromium.launch(**options)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(1000 * _WAIT_SECONDS)
            for name, _, _ in PAGES:
                page.goto(f"http://127.0.0.1:{port}/{'' if name == 'frontier' else name}")
                page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
                drawn = "[data-testid=stImage]" if name == "single_scan" else ".js-plotly-plot"
                expect(page.locator(drawn).first).to_be_visible(timeout=1000 * _WAIT_SECONDS)
                made.append(out / f"dashboard-{name}.png")
                page.screenshot(path=made[-1])
            browser.close()
    finally:
        processes.stop(server, grace=2.0)
    return made


def _wait(address: str) -> None:
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise TimeoutError(f"no dashboard at {address}")


def main() -> None:
    """Draw from ``--run``, or from a demo made now, into ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a demo's folder; default: run the demo")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    folder = asked.run
    if folder is None:
        folder = Path("runs") / time.strftime("images-%Y%m%d-%H%M%S")
        run([processes.script("infomri"), "demo", "--out", str(folder)], check=True)
    for path in draw(folder.resolve(), asked.out):
        print(path)


if __name__ == "__main__":
    main()
