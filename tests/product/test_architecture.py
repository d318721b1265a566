"""The layout's own laws: imports point one way, files stay short, the courier stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infomri_core.tasks.registry import TASKS, figures_of
from tests.support.imports import between_children, circles, import_graph, module_name, upward

ROOT = Path(__file__).parents[2]
PACKAGES = ("infomri_core", "fl_client", "fl_server", "dashboard")
FORBIDDEN = {
    "infomri_core": {"flwr", "mlflow", "streamlit", "fl_client", "fl_server", "dashboard"},
    "fl_client": {"fl_server", "dashboard", "mlflow", "streamlit"},
    "fl_server": {"fl_client", "dashboard", "streamlit"},
    "dashboard": {"fl_client", "fl_server", "flwr"},
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not imported(path) & FORBIDDEN[package]


def test_files_have_at_most_300_lines() -> None:
    everything = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    lengths = {p.relative_to(ROOT): len(p.read_text("utf-8").splitlines()) for p in everything}
    assert {path: n for path, n in lengths.items() if n > 300} == {}


FOLDERS = sorted({path.parent.relative_to(ROOT) for path in SOURCES})
GRAPH = import_graph({module_name(p.relative_to(ROOT)): p.read_text("utf-8") for p in SOURCES})


def order_of(package: str) -> list[str]:
    """The package's rooms and files from the lowest to the highest, as the architecture says."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.partition("```order\n")[2].partition("```")[0]
    lines = [line.split() for line in block.splitlines() if line.startswith(package + " ")]
    return [name for line in lines for name in line[1:]]


def test_no_circle_between_files() -> None:
    assert circles(GRAPH) == []


@pytest.mark.parametrize(
    "room", sorted({module_name(p.relative_to(ROOT).parent) for p in SOURCES})
)
def test_no_circle_between_what_lies_in_one_room(room: str) -> None:
    assert circles(between_children(GRAPH, room)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_between_rooms_points_downward(package: str) -> None:
    order, found = order_of(package), between_children(GRAPH, package)
    missing = "every room and file of a package stands once in the order of docs/architecture.md"
    assert sorted(order) == sorted(found), missing
    assert list(upward(found, order)) == []


def test_the_laws_of_imports_can_fail() -> None:
    made = {
        "p": "",
        "p.low": "",
        "p.low.one": "def f():\n    from p.low import two\n",
        "p.low.two": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.low.one\n",
        "p.low.three": "from p.high.top import x\n",
        "p.high": "y = 0\n",
        "p.high.top": "import p.low.four\nx = 1\n",
        "p.low.four": "from p.high import y\n",
    }
    graph = import_graph(made)
    assert graph["p.low.four"] == {"p.high"} and graph["p.low.three"] == {"p.high.top"}
    assert circles(graph) == [["p.low.one", "p.low.two"]]
    assert circles(between_children(graph, "p")) == [["high", "low"]]
    assert list(upward(between_children(graph, "p"), ["low", "high"])) == [("low", "high")]
    assert ("low", "has no place in the order") in upward({"low": set()}, ["high"])


@pytest.mark.parametrize("room", [ROOT / folder for folder in FOLDERS], ids=str)
def test_a_room_says_its_purpose_and_is_no_warehouse(room: Path) -> None:
    purpose = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert purpose and purpose.partition("\n\n")[0].rstrip().endswith(".")
    assert len([path for path in room.glob("*.py") if path.name != "__init__.py"]) <= 12


def test_the_four_walks_cross_the_files_that_the_page_counts_in_under_15_lines() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = text.partition("## Four walks")[2].partition("\n## ")[0]
    walks = [walk for walk in part.split("\n\n") if walk.startswith("**")]
    assert len(walks) == 4
    for walk in walks:
        names = re.findall(r"`([\w/]+\.py)`", walk)
        found = {name: [p for p in SOURCES if f"/{p}".endswith(f"/{name}")] for name in names}
        assert {name: paths for name, paths in found.items() if len(paths) != 1} == {}
        (said,) = re.findall(r"^\*\*.+\*\* \((\d+)\)", walk)
        assert int(said) == len({paths[0] for paths in found.values()})
        assert len(walk.strip().splitlines()) < 15


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["fl_client.network.courier", "fl_client.network.executor"])
def test_who_has_the_network_loads_no_library_that_reads_images(module: str) -> None:
    assert not loaded_by(module) & {"torch", "h5py", "monai"}


def test_the_vault_loads_no_flower() -> None:
    assert not loaded_by("fl_client.vault.process") & {"flwr", "grpc", "mlflow"}


SEEDERS = {"manual_seed", "default_rng", "derive_seed", "torch_generator", "numpy_generator"}
SEEDERS |= {"RandomState", "SeedSequence", "PCG64", "Philox", "Random", "seed", "initial_seed"}
SECRET_WORDS = ("secret", "keyed", "hmac", "token", "urandom", "private_key")


def seeded_from_secrets(tree: ast.AST) -> list[str]:
    """Calls that seed a generator of torch, NumPy or Python with something named as a secret."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called in SEEDERS:
            text = " ".join(ast.unparse(part) for part in [*node.args, *node.keywords]).lower()
            found += [ast.unparse(node)] if any(word in text for word in SECRET_WORDS) else []
    return found


def test_only_the_secret_stream_makes_randomness_of_a_secret() -> None:
    """Generators of torch and NumPy have 32 to 63 bits of seed here: a secret in them is lost."""
    sources = [path for path in SOURCES if path.name != "secret_stream.py"]
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in sources}
    assert {
        name: found for name, tree in trees.items() if (found := seeded_from_secrets(tree))
    } == {}
    hole = "torch.Generator().manual_seed(int(keyed(secret, *parts)[:16], 16) >> 1)"
    assert seeded_from_secrets(ast.parse(hole)) and seeded_from_secrets(
        ast.parse("numpy_generator(plan.study.seed, self._secret, 'bootstrap')")
    )


@pytest.mark.parametrize("name", ["dp", "lattice", "moments"])
def test_what_a_guarantee_rests_on_draws_from_no_other_generator(name: str) -> None:
    text = (ROOT / "infomri_core" / "dp" / f"{name}.py").read_text(encoding="utf-8")
    for other in (
        "torch.Generator",
        "torch.rand",
        "np.random",
        "infomri_core.randomness.seeds",
        "randn",
    ):
        assert other not in text


def test_no_python_generator_serves_a_site() -> None:
    assert [path.name for path in SOURCES if "random" in imported(path)] == []


def kinds_named(text: str) -> list[str]:
    """Texts in code that are a kind of task, and comparisons with one's kind."""
    tree, found = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in TASKS:
            found.append(str(node.value))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            found += [ast.unparse(s) for s in sides if ast.unparse(s).endswith("task.kind")]
    return found


def test_nobody_outside_the_tasks_tests_which_one_it_is() -> None:
    # Names of files are no kinds: what imports them stands below the tasks, and knows none.
    named = ROOT / "infomri_core" / "data" / "importing" / "component.py"
    outside = [p for p in SOURCES if "tasks" not in p.relative_to(ROOT).parts and p != named]
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in outside}
    assert {path: found for path, text in texts.items() if (found := kinds_named(text))} == {}
    assert kinds_named("if plan.task.kind == other: pass") == ["plan.task.kind"]
    assert kinds_named("x = row.task == 'regression'") == ["regression"]


def test_of_a_task_s_first_figure_more_is_better() -> None:
    for kind in TASKS:
        first, *_ = figures_of(kind)
        assert first.higher and first.interval
