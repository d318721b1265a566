"""docs/threat-model.md and the fault table name only tests that exist, one at least a control."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("threat-model.md", "operations.md")


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    text = (ROOT / "docs" / document).read_text().partition(heading)[2]
    lines = [line for line in text.partition("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(text: str, pattern: str) -> set[str]:
    return set(re.findall(rf"`({pattern})`", text))


def laws() -> set[str]:
    """The names of all test functions."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    found = (node for tree in trees for node in ast.walk(tree))
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    files = quoted(text, r"(?:tests|benchmarks)/[\w/]+\.py")
    missing = {name for name in files if not (ROOT / name).is_file()}
    missing |= quoted(text, r"test_\w+\.py") - {p.name for p in (ROOT / "tests").rglob("*.py")}
    missing |= quoted(text, r"test_\w+") - laws()
    assert missing == set()


def test_every_control_has_its_proof() -> None:
    controls = rows("threat-model.md", "## Controls and their proofs")
    assert len(controls) > 10
    unproven = [row[0] for row in controls if not quoted(row[2], r"[\w/]*test_\w+(?:\.py)?")]
    assert unproven == []


def test_every_adversary_has_a_control_that_answers() -> None:
    adversaries = rows("threat-model.md", "## Adversaries")
    answered = {row[0] for row in rows("threat-model.md", "## Controls and their proofs")}
    for row in adversaries:
        named = set(re.findall(r"\[([^\]]+)\]", row[3]))
        assert named and named <= answered, row[0]
