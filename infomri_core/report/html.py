"""Small pieces of HTML in which every text is escaped."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
MAX_ITEMS = 60


class Cell(NamedTuple):
    """A table's cell: ``text``, a smaller ``note`` after it, and a CSS class of the template."""

    text: str
    note: str = ""
    style: str = ""


def escape(value: object) -> str:
    """``value`` as text that is only text, whatever it holds."""
    return html.escape(str(value), quote=True)


def section(title: str, *parts: str) -> str:
    """A section; '' when all its parts are empty."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def heading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(title)}</h3>"


def paragraphs(texts: Iterable[str]) -> str:
    """One paragraph a text."""
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def bullets(texts: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>\n" + "\n".join(f"<li>{escape(text)}</li>" for text in texts) + "\n</ul>"


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str = "") -> str:
    """A table; a column whose first cell is a number ('n') is aligned right. '' without rows."""
    body = [list(row) for row in rows]
    if not body:
        return ""
    styles = ["n" if cell.style.startswith("n") else "" for cell in body[0]]
    head = "".join(f"<th{_style(s)}>{escape(h)}</th>" for h, s in zip(headers, styles))
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    lines = ["<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in body]
    content = "\n".join(lines)
    return (
        f'<div class="wide"><table>{title}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{content}\n</tbody></table></div>"
    )


def facts(values: Mapping[str, object]) -> str:
    """A table of names and values."""
    lines = [
        f'<tr><td class="key">{escape(key)}</td><td class="id">{escape(value)}</td></tr>'
        for key, value in values.items()
        if value not in (None, "")
    ]
    return "<table><tbody>\n" + "\n".join(lines) + "\n</tbody></table>" if lines else ""


def nested(values: Mapping[str, Any]) -> dict[str, str]:
    """The leaves of nested mappings by their path, for :func:`facts`; at most 60 of them."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}: {inner}": text for inner, text in nested(value).items()}
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            parts = {str(i + 1): v for i, v in enumerate(value)}
            found |= {f"{key}: {inner}": text for inner, text in nested(parts).items()}
        else:
            found[str(key)] = plain(value)
    return dict(list(found.items())[:MAX_ITEMS])


def plain(value: object) -> str:
    """A value in words: three digits of a number, a list with commas."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def picture(path: Path, caption: str) -> str:
    """An image file embedded in the page. '' when there is none."""
    if path.suffix not in _TYPES or not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:{_TYPES[path.suffix]};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _cell(cell: Cell) -> str:
    note = f" <small>{escape(cell.note)}</small>" if cell.note else ""
    return f"<td{_style(cell.style)}>{escape(cell.text)}{note}</td>"


def _style(name: str) -> str:
    return f' class="{escape(name)}"' if name else ""
