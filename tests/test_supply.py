"""What is installed is what was pinned, to the byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = sorted([ROOT / "requirements.txt", *(ROOT / "requirements").glob("*.txt")])


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_package_is_pinned_with_a_hash(path: Path) -> None:
    entries = re.split(r"\n(?=[A-Za-z])", "\n" + path.read_text(encoding="utf-8"))[1:]
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_smaller_tiers_have_the_wider_ones_versions() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return set(re.findall(r"^([\w.-]+==[^\s;]+)", text, re.MULTILINE))

    server = pins("requirements/server.txt")
    for name in ("requirements.txt", "requirements/demo.txt", "requirements/dev.txt"):
        assert server <= pins(name)
