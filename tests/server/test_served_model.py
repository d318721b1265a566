"""A registered arm is served by its own code and what its requirements name, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from fl_server.inference.mlflow_model import save_model
from fl_server.inference.model_code import write_code
from fl_server.inference.trained_arm import read_model
from tests.support.trained_runs import LABELS, make_run

ALONE = """
import json, re, sys, warnings
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

model = sys.argv[1]
names = lambda lines: [re.match(r"[\\w.-]+", line)[0].lower() for line in lines]
canonical = lambda name: re.sub(r"[-_.]+", "-", name).lower()
todo, known = names(open(f"{model}/requirements.txt")), set()
while todo:
    name = canonical(todo.pop())
    if name not in known:
        known.add(name)
        try:
            todo += names(r for r in requires(name) or () if "extra ==" not in r)
        except PackageNotFoundError:
            pass  # for another platform
# setuptools is in every environment that MLflow makes.
ours = {top for top, owners in packages_distributions().items()
        if not {canonical(owner) for owner in owners} & (known | {"setuptools"})}
ours -= {"infomri_core", "fl_server"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ours:
            raise ModuleNotFoundError(f"{name} is not among the requirements", name=name)


sys.meta_path.insert(0, Absent())
assert "streamlit" in ours and "flwr" in ours
warnings.simplefilter("ignore")
import pandas
from mlflow import pyfunc

request = json.load(open(f"{model}/serving_input_example.json"))["dataframe_split"]
frame = pandas.DataFrame(request["data"], columns=request["columns"])
answer = pyfunc.load_model(model).predict(frame)
import fl_server, infomri_core
print(json.dumps([list(answer.columns), infomri_core.__file__, fl_server.__file__]))
"""


def test_a_model_is_served_where_the_project_is_not_installed(tmp_path):
    run = make_run(tmp_path / "trained-1")
    save_model(tmp_path / "model", read_model(run), "uniform-s0")
    model = str(tmp_path / "model")
    command = [sys.executable, "-c", ALONE, model]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    labels, core, server = json.loads(done.stdout.splitlines()[-1])
    assert labels == list(LABELS)
    assert core.startswith(f"{model}/code/infomri_code.zip/")
    assert server.startswith(f"{model}/code/infomri_code.zip/")


def test_requirements_are_versions_that_a_package_index_has(tmp_path):
    run = make_run(tmp_path / "trained-1")
    save_model(tmp_path / "model", read_model(run), "uniform-s0")
    lines = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} >= {"torch", "numpy", "mlflow"}
    assert not any("+" in line or "infomri" in line for line in lines)


def test_the_code_of_a_model_is_the_same_bytes_for_the_same_files(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    assert [Path(p).read_bytes() for p in write_code(first)] == [
        Path(p).read_bytes() for p in write_code(second)
    ]
