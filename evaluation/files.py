"""Text in, JSON and tables out, for the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_text(path: Path) -> str:
    """Reads a list or a table, with or without a byte order mark.

    Raises:
        SystemExit: there is no such file, or it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path}: not a text in UTF-8") from error


def fill_marked(path: Path, mark: str, text: str) -> None:
    """Puts text between the document's `<!-- mark -->` and `<!-- /mark -->`."""
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    page = path.read_text(encoding="utf-8")
    path.write_text(marked.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


def write_figures(
    path: Path, document: Mapping[str, Any], page: Path, mark: str, table: str
) -> None:
    """Writes what a command measured, and the table of it into a page of the docs."""
    write_json(path, document)
    fill_marked(page, mark, f"\n{table}\n\n")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes figures, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
