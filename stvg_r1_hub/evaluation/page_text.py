"""A report's values and its template to markdown or HTML; what models wrote stays text in both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXT_COLUMNS = ("model", "source", "protocol", "sample", "why", "what")
"""Columns of tables that hold words; the others hold numbers, except the first."""


def render(template: str, context: dict[str, Any], *, html: bool) -> str:
    """Fill a template of this folder.

    Args:
        template: its file name.
        context: values by name; a missing one is an error.
        html: escape for HTML; else for markdown, with `table(columns, rows)` as function.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=html,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    if not html:
        environment.globals["table"] = _markdown_table
        environment.finalize = _markdown_text
    return environment.get_template(template).render(context)


class Markdown(str):
    """Text that is markdown already."""


def _markdown_text(value: Any) -> Any:
    """Queries and model texts are data: nothing in them may become a heading, link or HTML."""
    if isinstance(value, Markdown) or not isinstance(value, str):
        return value
    return _escaped(value)


def _escaped(text: str) -> str:
    for mark in "\\`*_[]|#":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markdown:
    """A table; numbers to the right."""
    rule = ["---" if i == 0 or name in TEXT_COLUMNS else "---:" for i, name in enumerate(columns)]
    cells = [[_escaped(str(cell)) for cell in row] for row in (columns, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "|".join(rule) + "|")
    return Markdown("\n".join(lines))
