"""How long the dashboard's first page takes with thousands of runs in the store.

``python -m benchmarks.dashboard [N_RUNS]`` fills a SQLite store and draws the first page in this
process, as Streamlit does, from MLflow each time: seconds by the clock and of the processor. Where
there is chromium, also the seconds until a browser, which has visited before, shows the frontier.
Prints a Markdown table.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

from dashboard.reading import cache, runs
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from tests.support.dashboard_stores import crowded

VISITS = 3
TIMEOUT_SECONDS = 120


def main() -> None:
    """Measure and print."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        uri = crowded(Path(folder), n_runs)
        print(f"| first page, {n_runs} runs | clock (s) | processor (s) |\n| --- | --- | --- |")
        for number in range(VISITS):
            clock, processor = _draw(uri)
            print(f"| drawn, time {number + 1} | {clock:.2f} | {processor:.2f} |", flush=True)
        if shutil.which("chromium"):
            _browse(uri, Path(folder) / "dashboard.log")


def _draw(uri: str) -> tuple[float, float]:
    """Clock and processor seconds of one drawing; the server has opened the store before."""
    runs.studies(uri)
    cache.clear()
    sys.argv, os.environ["INFOMRI_TRACKING_URI"] = ["app"], uri
    app = AppTest.from_file(Path(runs.__file__).with_name("app.py"))
    clock, processor = time.perf_counter(), time.process_time()
    app.run(timeout=TIMEOUT_SECONDS)
    if app.exception or not app.dataframe:
        raise RuntimeError(f"the page was not drawn: {app.exception}")
    return time.perf_counter() - clock, time.process_time() - processor


def _browse(uri: str, log: Path) -> None:
    from playwright.sync_api import sync_playwright

    port = free_port()
    command = [sys.executable, "-m", "dashboard", uri, "--port", str(port)]
    server = processes.start(command, log)
    try:
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            path = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
            page = browser.new_context().new_page()
            page.set_default_timeout(1000 * TIMEOUT_SECONDS)
            while "URL:" not in log.read_text():
                time.sleep(0.2)
            for number in range(VISITS):
                clock = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}")
                page.locator(".js-plotly-plot .points path").first.wait_for()
                taken = time.perf_counter() - clock
                print(f"| in a browser, visit {number + 1} | {taken:.2f} | |", flush=True)
            browser.close()
    finally:
        processes.stop(server, grace=2.0)


if __name__ == "__main__":
    main()
