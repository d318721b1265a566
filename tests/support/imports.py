"""Which file of the packages imports which, and what a layered layout forbids."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    """Dotted name of a source file, given relative to the repository's root."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST) -> set[str]:
    """What a file imports anywhere: inside functions and under TYPE_CHECKING, too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute here"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules that each module of ``sources`` (text by dotted name) imports, itself excluded.

    ``from room import file`` is an import of the file; the room's own ``__init__`` counts where
    something else is taken from it."""
    graph = {}
    for name, text in sources.items():
        found = imported_names(ast.parse(text)) & set(sources)
        parents = {module.rpartition(".")[0] for module in found}
        only_path = {p for p in parents & found if not _takes_from(text, p, sources)}
        graph[name] = found - only_path - {name}
    return graph


def _takes_from(text: str, package: str, sources: Mapping[str, str]) -> bool:
    return any(
        f"{package}.{alias.name}" not in sources
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == package
        for alias in node.names
    )


def circles(graph: Graph) -> list[list[str]]:
    """Groups of two or more that reach each other, each sorted (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            found.extend([sorted(group)] if len(group) > 1 else [])

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def between_children(graph: Graph, folder: str) -> dict[str, set[str]]:
    """The imports among what lies directly in ``folder`` (dotted), files and rooms alike; an
    import from deep inside a room is one of the room's. The folder's ``__init__`` is left out."""
    collapsed: dict[str, set[str]] = {}
    for name, others in graph.items():
        child = _child(name, folder)
        if child:
            targets = {_child(other, folder) for other in others} - {"", child}
            collapsed.setdefault(child, set()).update(targets)
    return collapsed


def upward(graph: Graph, order: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Imports that point to nothing earlier in ``order``, and what has no place in it."""
    place = {name: i for i, name in enumerate(order)}
    for name, others in sorted(graph.items()):
        if name not in place:
            yield name, "has no place in the order"
        for other in sorted(others):
            if place.get(other, len(place)) >= place.get(name, -1):
                yield name, other


def _child(name: str, folder: str) -> str:
    prefix = folder + "."
    return name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else ""
