"""The examples of docs/api.md and docs/quick-start.md with their real answers.

Every shell block of `curl` or `Request.py` is run, in the document's order, against a server of
its own over an empty gallery; what it prints replaces the block behind it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

from tqdm import tqdm

from client.connection import SERVER
from evaluation.readme import FENCED, ROOT, with_blocks
from evaluation.server import running_server
from utils.audio import decode

DOCUMENTS = ("docs/quick-start.md", "docs/api.md")
SPOKEN = ROOT / "data" / "ast1@example.org-1.mp4"
SHOWN = 3  # of a long list's items
LONG = 12
RUN = re.compile(r"^(curl|\(printf|\.venv/bin/python Request\.py) ", re.MULTILINE)
MOST_LINES = 9  # of what a command prints
WIDEST = 160


def run() -> int:
    """`python -m evaluation api`."""
    _write_spoken(ROOT / "out" / "hello.wav")
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        blocks = FENCED.findall(text)
        shown = [body for _, body in blocks]
        with tempfile.TemporaryDirectory() as gallery, running_server(Path(gallery)) as server:
            for place, (language, commands) in enumerate(tqdm(blocks, desc=name, unit="block")):
                if language == "bash" and RUN.match(commands):
                    shown[place + 1] = _answer(commands, server.url, blocks[place + 1][0])
        path.write_text(with_blocks(text, shown), encoding="utf-8")
    return 0


def _write_spoken(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((decode(SPOKEN) * 32767).astype("<i2").tobytes())


def _answer(commands: str, server: str, language: str) -> str:
    """What the commands print, laid out as a block of this language shows it."""
    lines: list[str] = []
    for command in commands.splitlines():
        command = command.replace("curl ", "curl --silent --show-error ", 1).replace(SERVER, server)
        if "Request.py" in command:
            python = command.replace(".venv/bin/python", sys.executable)
            command = re.sub(r"Request\.py (\S+)", rf"Request.py \1 --server {server}", python)
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        lines += (done.stdout + done.stderr).rstrip("\n").splitlines()
    if language == "json":
        return json_text(json.loads(lines[-1])) + "\n"
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], "...", *lines[-(MOST_LINES // 2) :]]
    return "".join(f"{_cut(line)}\n" for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 4]} ..."


def json_text(value: Any, indent: str = "") -> str:
    """An answer over several lines: what fits into one stays there, long lists are cut.

    Example:
        >>> json_text({"embedding": [0.1] * 64})
        '{"embedding": [0.1, 0.1, 0.1, "... 64 in all"]}'
    """
    if isinstance(value, list) and len(value) > LONG:
        value = [*value[:SHOWN], f"... {len(value)} in all"]
    if isinstance(value, dict):
        value = {
            name: [*each[:SHOWN], f"... {len(each)} in all"]
            if isinstance(each, list) and len(each) > LONG
            else each
            for name, each in value.items()
        }
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= 110 or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {json_text(each, deeper)}" for k, each in value.items()]
        opening, closing = "{", "}"
    else:
        items = [json_text(each, deeper) for each in value]
        opening, closing = "[", "]"
    inner = ",\n".join(f"{deeper}{item}" for item in items)
    return f"{opening}\n{inner}\n{indent}{closing}"
