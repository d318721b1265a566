"""The dashboard in a real browser: a finished study is walked page by page, as a user would.

Pictures of every page stay in the folder ``INFOMRI_SCREENSHOTS``, or else in pytest's.
"""

import contextlib
import io
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from urllib.request import urlopen

import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from tests.support.dashboard_stores import finished, running

CHROMIUM = shutil.which("chromium")
PAGES = ("", "sampling", "audit", "sites", "training", "single_scan")
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
TIMEOUT_MS = 90_000
CUT_OFF = """
[...document.querySelectorAll('[data-testid=stMetricValue], [data-testid=stMetricLabel]')]
    .filter(shown => shown.scrollWidth > shown.clientWidth + 1).map(shown => shown.textContent)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("INFOMRI_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study and its store lie."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A dashboard over a finished study of two sites."""
    finished(folder)
    port = free_port()
    infomri = processes.script("infomri")
    command = [infomri, "dashboard", "--run", str(folder), "--port", str(port)]
    server = processes.start(command, folder / "dashboard.log", dict(os.environ))
    try:
        wait_for_server(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.stop(server, grace=2.0)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        opened = browser.new_page(viewport={"width": 1400, "height": 1100})
        opened.set_default_timeout(TIMEOUT_MS)
        yield opened
        browser.close()


def wait_for_server(address: str, server: Popen) -> None:
    until = time.monotonic() + TIMEOUT_MS / 1000
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urlopen(f"{address}/_stcore/health", timeout=5):
            return
        time.sleep(0.2)
    pytest.fail("the dashboard did not start")


def settled(page: Page) -> None:
    """Wait until the page's script has ended; it must not have failed."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.locator("h1")).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_a_finished_study_is_drawn(
    page: Page, address: str, pictures: Path, name: str
):
    page.goto(f"{address}/{name}")
    settled(page)
    drawn = page.locator("[data-testid=stImage]" if name == "single_scan" else ".js-plotly-plot")
    expect(drawn.first).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator("[data-testid=stAlert]", has_text="does not answer")).to_have_count(0)
    # Streamlit prints what stands alone in a page's source, a constant's docstring too.
    words = page.locator("[data-testid=stMain] :is([data-testid=stMarkdown], h1)")
    expect(words.first).to_contain_text(page.locator("h1").first.inner_text())
    page.screenshot(path=pictures / f"{name or 'frontier'}.png")


@pytest.mark.parametrize(
    ("width", "theme"), [(800, "light"), (800, "dark"), (1280, "light"), (1280, "dark")]
)
def test_pages_call_out_to_nobody_fit_their_width_and_follow_the_readers_theme(
    page: Page, address: str, pictures: Path, width: int, theme: str
):
    """Requests of all pages stay on this machine; no figure of a metric is cut off."""
    assert page.context.browser is not None
    context = page.context.browser.new_context(
        viewport={"width": width, "height": 1100}, color_scheme=theme
    )
    context.set_default_timeout(TIMEOUT_MS)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    opened = context.new_page()
    for name in PAGES:
        opened.goto(f"{address}/{name}?study=small")
        settled(opened)
        expect(opened.locator("[data-testid=stSkeleton]")).to_have_count(0, timeout=TIMEOUT_MS)
        opened.screenshot(path=pictures / f"{name or 'frontier'}-{width}-{theme}.png")
        assert opened.evaluate(CUT_OFF) == []
        background = opened.evaluate(
            "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
        )
        red = int(background.split("(")[1].split(",")[0])
        assert (red < 128) == (theme == "dark")
    context.close()
    local = (address, address.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in asked if not url.startswith(local)] == []


def test_a_click_on_a_point_opens_its_run(page: Page, address: str, pictures: Path):
    page.goto(address)
    settled(page)
    point = page.locator(".js-plotly-plot .scatterlayer .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_role("heading", name="Run of")).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.get_by_text("MLflow run")).to_be_visible()
    page.screenshot(path=pictures / "run.png")


def test_the_slider_changes_how_many_points_are_measured(page: Page, address: str):
    page.goto(f"{address}/sampling")
    settled(page)
    points = page.locator("[data-testid=stMetricValue]").first
    expect(points).to_be_visible(timeout=TIMEOUT_MS)
    before = points.inner_text()
    page.get_by_role("slider").first.press("ArrowRight")
    expect(points).not_to_have_text(before, timeout=TIMEOUT_MS)
    assert int(points.inner_text().split()[0]) > int(before.split()[0])


def test_the_curves_of_a_running_study_grow_by_themselves(
    page: Page, address: str, folder: Path, pictures: Path
):
    tracker = running(folder)
    page.goto(f"{address}/training?study=live")
    settled(page)
    expect(page.get_by_text("Round 1 of 3, running")).to_be_visible(timeout=TIMEOUT_MS)
    tracker.round(2, {"uniform-s0": {"train/ce": 0.6}})
    expect(page.get_by_text("Round 2 of 3, running")).to_be_visible(timeout=TIMEOUT_MS)
    points = page.locator(".js-plotly-plot .points path")
    expect(points.first).to_be_visible(timeout=TIMEOUT_MS)
    page.screenshot(path=pictures / "running.png")
    tracker.finish("FINISHED")
    expect(page.get_by_text("Round 2 of 3", exact=True)).to_be_visible(timeout=TIMEOUT_MS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_server_ends_with_its_command(folder: Path, address: str, number: signal.Signals):
    port = free_port()
    command = [processes.script("infomri"), "dashboard", "--run", str(folder)]
    server = processes.start([*command, "--port", str(port)], folder / f"{number.name}.log")
    try:
        wait_for_server(f"http://127.0.0.1:{port}", server)
        server.send_signal(number)
        assert server.wait(60) == (-number if number is signal.SIGKILL else 0)
        until = time.monotonic() + 30
        while _answers(port) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _answers(port)
    finally:
        processes.stop(server, grace=2.0)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
        return True
    return False


def test_the_privacy_report_is_downloaded_whole(page: Page, address: str):
    page.goto(f"{address}/audit?study=small")
    settled(page)
    with page.expect_download(timeout=TIMEOUT_MS) as waiting:
        page.get_by_role("button", name="Download the privacy report").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert waiting.value.suggested_filename == "privacy-report-small-1.html"
    assert "Verdict:" in text
    assert text.rstrip().endswith("</html>")


def test_a_dropped_file_is_measured_attacked_and_diagnosed(
    page: Page, address: str, pictures: Path
):
    page.goto(f"{address}/single_scan?study=small")
    settled(page)
    page.get_by_role("radio", name="file").or_(page.get_by_text("file", exact=True)).first.click()
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).random((3, 32, 32)).astype(np.float32))
    scan = {"name": "scan.npy", "mimeType": "application/octet-stream"}
    chosen = page.locator("input[type=file]")
    chosen.set_input_files({**scan, "buffer": stream.getvalue()})
    expect(page.get_by_text("3 slices divided by")).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator("[data-testid=stImage] img")).to_have_count(4)
    page.wait_for_function("Array.from(document.images).every(i => i.complete && i.naturalWidth)")
    page.screenshot(path=pictures / "dropped.png")
