"""Execute the notebooks of ``examples/`` in place: ``make notebooks ARGS='segmentation'``.

All of them without a name. Needs the extra ``notebooks``. Paths of this machine are not kept.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"


def main(names: list[str]) -> int:
    """Execute and rewrite each notebook; ids and metadata are such that a rerun shows only what
    changed. Raises ``CellExecutionError`` where a cell fails, which leaves the file as it was."""
    for path in [EXAMPLES / f"{name}.ipynb" for name in names] or sorted(EXAMPLES.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        NotebookClient(
            book, timeout=1800, record_timing=False, resources={"metadata": {"path": EXAMPLES}}
        ).execute()
        for number, cell in enumerate(book.cells):
            cell["id"] = f"cell-{number:02d}"
            if cell.cell_type == "code":
                cell["outputs"] = _kept(cell["outputs"])
        book.metadata.get("language_info", {}).pop("version", None)
        nbformat.write(book, path)
        print(f"executed {path.name}")
    return 0


def _kept(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Without what went to stderr; lines that were printed one after the other are one output."""
    found: list[nbformat.NotebookNode] = []
    for out in outputs:
        if out.output_type != "stream":
            found.append(out)
        elif out.name == "stdout":
            text = out.text.replace(tempfile.gettempdir(), "TMP")
            if found and found[-1].output_type == "stream":
                found[-1]["text"] += text
            else:
                found.append(nbformat.v4.new_output("stream", name="stdout", text=text))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
