"""The dashboard: what it says of full, empty, running, failed and absent stores."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.__main__ import command
from dashboard.axes import ceiling
from dashboard.figures import frontier
from dashboard.reading import runs
from fl_server.settings import Audit, Centre, CentreSettings
from fl_server.tracking.runs import connect
from fl_server.tracking.tracker import Tracker
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row
from infomri_core.results.metric_names import ALIVE
from tests.support.rows import changed, row_of

APP = Path(dashboard.__file__).with_name("app.py")
PLAN = """
[study]
name = "knee"
[task]
labels = ["line"]
shape = [32, 32]
[measurement]
accelerations = [16.0, 32.0]
[[arms]]
sampler = "infomri"
[[arms]]
sampler = "infomri"
suppression = "marginal"
beta = 0.01
[[arms]]
sampler = "uniform"
"""


def rows_of(plan: Plan) -> list[Row]:
    base = Row("", "", 0.0, 0, 16.0, rounds=4, n_train=90, n_audit=20, n_patients=12)
    figures = {
        "infomri-s0": (0.95, {"lmmse": 18.0, "cnn": 15.0}),
        "infomri-marginal-b0.01-s0": (0.93, {"lmmse": 15.0, "cnn": 14.0}),
        "uniform-s0": (None, {"lmmse": 16.0, "cnn": 13.0}),
    }
    rows = []
    for acceleration in plan.measurement.accelerations:
        for arm in plan.arms:
            auroc, psnr = figures[arm.name]
            interval = (auroc - 0.03, auroc + 0.02) if auroc else (None, None)
            row = changed(
                base,
                arm=arm.name,
                sampler=arm.sampler,
                suppression=arm.suppression,
                beta=arm.beta,
                acceleration=acceleration,
                auroc=auroc,
                auroc_low=interval[0],
                auroc_high=interval[1],
                psnr={name: value - acceleration / 32 for name, value in psnr.items()},
                psnr_low={name: value - 2 for name, value in psnr.items()},
                certified=("lmmse",),
                psnr_prior=12.0,
                psnr_answer=12.5 + arm.beta,
            )
            rows.append(row)
    return rows


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a finished study, one that runs and one that failed."""
    directory = tmp_path_factory.mktemp("store")
    centre = CentreSettings(Audit("phantom:"), Centre(directory=directory))
    for name, status in (("knee", "FINISHED"), ("brain", ""), ("heart", "FAILED")):
        plan = parse_plan(PLAN.replace("knee", name))
        tracker = Tracker(centre, plan, f"{name}-1")
        tracker.round(3, {"uniform-s0": {"train/ce": 0.6}})
        if status == "FINISHED":
            tracker.result(rows_of(plan))
            tracker.dropped("uniform-s0", "diverged at north")
        if status:
            tracker.finish(status)
    return centre.tracking_uri


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AppTest]:
    def opened(uri: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP)])
        monkeypatch.setenv("INFOMRI_TRACKING_URI", uri)
        return AppTest.from_file(APP, default_timeout=60).run()

    return opened


def texts(app: AppTest) -> str:
    assert not app.exception
    shown = [*app.info, *app.error, *app.warning, *app.markdown, *app.caption]
    return " ".join(element.value for element in shown)


def progress_bars(app: AppTest) -> list:
    return [element.proto for element in app.get("progress")]


def test_the_store_gives_back_the_rows_that_were_logged(uri: str):
    study = runs.studies(uri)["knee"]
    (sweep,) = runs.sweeps(uri, study)
    assert (sweep.name, sweep.status, sweep.n_rounds) == ("knee-1", "FINISHED", 4)
    found = runs.arms(uri, study, sweep.run_id)
    expected = rows_of(parse_plan(PLAN))
    assert sorted(found.rows, key=repr) == sorted(expected, key=repr)
    assert found.dropped == {"uniform-s0": "diverged at north"}
    assert found.parameters["uniform-s0"]["sampler"] == "uniform"
    curve = runs.curve(uri, found.runs["uniform-s0"], "train/ce")
    assert (curve.steps, curve.values) == ((3,), (0.6,))


def test_the_study_of_the_newest_run_comes_first(uri: str):
    assert next(iter(runs.studies(uri))) == "heart"


def test_the_page_shows_the_frontier_of_the_chosen_study(uri: str, open_app):
    app = open_app(uri)
    app.selectbox(key="study").select("knee").run()
    shown = texts(app)
    assert "diverged at north" in shown
    assert "Up" in shown
    (suggested,) = app.metric
    assert (suggested.label, suggested.value) == ("InfoMRI β=0.01 at 32x", "14.0 dB")
    assert "costs 0.020 AUROC and lowers the attacker's PSNR by 3.0 dB" in shown
    table = app.dataframe[0].value
    assert len(table) == 6 and set(table["at"]) == {"16x", "32x"}
    app.segmented_control(key="acceleration").set_value(32.0).run()
    table = app.dataframe[0].value
    assert list(table["arm"]) == ["InfoMRI β=0", "InfoMRI β=0.01", "uniform"]
    assert list(table["Pareto-optimal"]) == [True, True, False]
    assert set(table["weak attacks"]) == {"cnn"}


def test_acceleration_attack_and_figures_can_be_chosen(uri: str, open_app):
    app = open_app(uri)
    app.selectbox(key="study").select("knee").run()
    assert app.segmented_control(key="acceleration").value == 0.0, "all of them"
    app.segmented_control(key="acceleration").set_value(16.0)
    app.selectbox(key="attack").select("cnn").run()
    assert app.metric[0].value == "13.5 dB"
    app.selectbox(key="privacy").select("gain").run()
    assert app.metric[0].value == "1.5 dB"


def test_the_users_constraint_decides_what_is_suggested(uri: str, open_app):
    app = open_app(uri)
    app.selectbox(key="study").select("knee").run()
    app.segmented_control(key="acceleration").set_value(32.0).run()
    app.number_input(key="least-AUROC-32").set_value(0.94).run()
    assert (app.metric[0].label, app.metric[0].value) == ("InfoMRI β=0 at 32x", "17.0 dB")
    assert "no AUROC was given up" in texts(app)
    app.number_input(key="least-AUROC-32").set_value(0.99).run()
    assert "No arm reaches AUROC 0.990; the best has 0.950" in texts(app)


def test_a_running_study_says_how_far_it_is(uri: str, open_app):
    app = open_app(uri)
    app.selectbox(key="study").select("brain").run()
    assert "round 3 of 4, 3 arms" in texts(app)


def test_a_failed_study_says_how_to_go_on(uri: str, open_app):
    app = open_app(uri)
    app.selectbox(key="study").select("heart").run()
    assert "`infomri run --resume heart-1`" in texts(app)


def test_no_store_is_made_by_looking_for_one(tmp_path: Path, open_app):
    path = tmp_path / "absent.db"
    assert "There is no MLflow store" in texts(open_app(f"sqlite:///{path}"))
    assert not path.exists()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("", "No MLflow store was named"), ("http://127.0.0.1:9", "does not answer")],
)
def test_a_missing_store_is_explained(uri: str, expected: str, open_app):
    assert expected in texts(open_app(uri))


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path, open_app):
    from mlflow import MlflowClient

    empty = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(empty).create_experiment("not of InfoMRI")
    assert "infomri demo" in texts(open_app(empty))


def test_the_plot_has_a_trace_a_sampler_and_fades_what_is_beaten():
    first = row_of("a", "infomri", 0.0, 0, 16.0, auroc=0.9, psnr={"cnn": 15.0}, psnr_prior=12.0)
    softer = changed(first, arm="b", beta=1e-4, suppression="marginal", auroc=0.85)
    fixed = changed(first, arm="c", sampler="uniform", auroc=0.7, psnr={"cnn": 14.0})
    undefined = changed(fixed, arm="d", auroc=None)
    figure = frontier.frontier([first, softer, fixed, undefined], "cnn")
    front, learned, uniform, floor = figure.data
    assert list(front.x) == [14.0, 15.0]
    assert [note.text for note in figure.layout.annotations] == ["β=0", "β=1e-4"]
    assert list(learned.marker.opacity) == [1.0, frontier.FADED]
    assert list(map(tuple, uniform.customdata)) == [("c", 16.0)]
    assert list(learned.marker.symbol) == ["circle-open", "circle"]
    assert "dB" in figure.layout.xaxis.title.text
    assert floor.name == "floor: nothing measured (12.0 dB)"
    assert figure.layout.shapes[0].x0 == 12.0


def test_all_accelerations_stand_in_one_plot_an_arm_a_curve_whose_markers_shrink():
    most = row_of("a", "infomri", 0.0, 0, 8.0, auroc=0.9, psnr={"cnn": 20.0})
    rows = [most, changed(most, acceleration=32.0, auroc=0.8, psnr={"cnn": 15.0})]
    rows += [changed(row, arm="b", beta=1e-4, suppression="marginal") for row in rows]
    rows[3] = changed(rows[3], psnr={"cnn": 14.0})
    front, plain, suppressed = frontier.frontier(rows).data
    assert sorted(set(front.x)) == [14.0, 20.0]
    assert [(t.name, list(t.marker.opacity)) for t in (plain, suppressed)] == [
        ("InfoMRI β=0", [1.0, frontier.FADED]),
        ("InfoMRI β=0.0001", [1.0, 1.0]),
    ]
    assert plain.marker.size[0] > plain.marker.size[1]
    labels = frontier.frontier(rows).layout.annotations
    assert sorted(note.text for note in labels) == ["β=0", "β=1e-4"]


def test_the_ceiling_is_drawn_where_all_of_kspace_was_measured_and_nowhere_else():
    row = row_of("a", "infomri", 0.0, 0, 16.0, auroc=0.9, psnr={"cnn": 15.0})
    full = changed(row, acceleration=1.0, auroc=0.97)
    read = replace(row, legibility={"full image": 0.96, "cnn": 0.6})
    assert ceiling([row]) is None
    assert ceiling([row, full, read]) == (0.97, "all of k-space")
    assert ceiling([row, read]) == (0.96, "full images, the audit's reader")
    names = [trace.name for trace in frontier.frontier([row], everywhere=[row, full]).data]
    assert "ceiling: all of k-space (0.970)" in names


def test_an_empty_plot_is_a_plot():
    assert len(frontier.frontier([]).data) == 0


def test_the_server_listens_on_loopback_unless_told_otherwise():
    assert "--server.address=127.0.0.1" in command("sqlite:///x.db", 8501)
    assert command("sqlite:///x.db", 8501)[-1] == "sqlite:///x.db"


def test_every_page_says_something_sensible_of_every_state(uri: str, open_app):
    app = open_app(uri)
    for study, page, expected in (
        ("brain", "sampling", "Come back"),
        ("brain", "audit", "not audited yet"),
        ("brain", "sites", "No site has answered"),
        ("brain", "training", "Round 3 of 4, running"),
        ("brain", "single_scan", "Come back"),
        ("heart", "sampling", "has kept no trained arms"),
        ("heart", "audit", "ended early"),
        ("heart", "sites", "ended early"),
        ("heart", "training", "ended early"),
        ("knee", "training", "diverged at north"),
    ):
        app.switch_page(f"views/{page}.py").run()
        app.selectbox(key="study").select(study).run()
        shown = texts(app) + " ".join(bar.text for bar in progress_bars(app))
        assert expected in shown, (study, page, shown)


@pytest.mark.parametrize("ago, silent", [(5, False), (3600, True)])
def test_a_study_whose_process_is_gone_is_not_called_running(
    ago: int, silent: bool, tmp_path: Path, open_app: Callable[[str], AppTest]
) -> None:
    """A process that is killed cannot tell MLflow; its last sign of life can be seen."""
    centre = CentreSettings(Audit("phantom:"), Centre(directory=tmp_path))
    tracker = Tracker(centre, parse_plan(PLAN), "knee-1")
    tracker.round(3, {"uniform-s0": {"train/ce": 0.6}})
    tracker.close()
    uri = centre.tracking_uri
    (sweep,) = runs.sweeps(uri, *runs.studies(uri).values())
    connect(uri).set_tag(sweep.run_id, ALIVE, str(round(time.time()) - ago))
    shown = texts(open_app(uri))
    assert ("has not been heard of since" in shown) is silent
    assert ("This study is running" in shown) is not silent


@pytest.mark.parametrize("page", ["sampling", "audit", "sites", "training", "single_scan"])
def test_every_page_survives_a_store_that_does_not_answer(page: str, open_app):
    app = open_app("http://127.0.0.1:9")
    app.switch_page(f"views/{page}.py").run()
    assert "does not answer" in texts(app)
