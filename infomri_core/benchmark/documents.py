"""Puts a benchmark's table into a document, between the two comments that name it."""

from pathlib import Path

from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically


def put_into(document: Path, name: str, table: str) -> None:
    """Replace what stands between ``<!-- benchmark NAME -->`` and ``<!-- end NAME -->``. Raises
    ``InputError`` for a document without them."""
    begin, end = f"<!-- benchmark {name} -->", f"<!-- end {name} -->"
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        expected = f"the lines {begin} and {end}"
        raise InputError(str(document), expected, "none", "put them where the table belongs")
    whole = f"{before}{begin}\n\n{table.strip()}\n\n{end}{after}"
    write_atomically(document, whole.encode())
