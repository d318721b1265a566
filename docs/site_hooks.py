"""What the site does with the documentation beside MkDocs itself."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[[^\]]+\]\(\.\./([^)#]+)[^)]*\)")
_ROLE = re.compile(r":(?:func|class|meth|mod):<code>~?([^<]+)</code>")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ work in the repository only: on the site they name the file."""
    if "/" in page.file.src_uri:
        return markdown
    return _OUTSIDE.sub(r"`\1`", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name functions by Sphinx's roles, which Markdown does not know."""
    return _ROLE.sub(r"<code>\1</code>", html)
