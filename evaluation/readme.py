"""The READMEs' examples with their real answers.

Every shell block of `curl` or `Request.py` is run, in the README's order, against a server of its
own over an empty gallery; what it prints replaces the block behind it. The first block of all
shows some of what `make demo` prints.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from client.connection import SERVER
from evaluation.server import running_server

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.ko.md")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANSWER = re.compile(r'(\{"100001":".*?",)"speaker_id".*("decision":".*?","score":[-0-9.]+,).*\}')


def run() -> int:
    """`python -m evaluation readme`: the READMEs must show the same blocks in the same order."""
    blocks = FENCED.findall((ROOT / READMES[0]).read_text(encoding="utf-8"))
    shown = [body for _, body in blocks]
    shown[0] = _excerpt_of_the_demo()
    with tempfile.TemporaryDirectory() as gallery, running_server(Path(gallery)) as server:
        for number, (language, commands) in enumerate(tqdm(blocks, unit="block")):
            if language == "bash" and re.match(r"curl|.*Request\.py data", commands):
                shown[number + 1] = _answers(commands, server.url, blocks[number + 1][0])
    for name in READMES:
        path = ROOT / name
        path.write_text(with_blocks(path.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def with_blocks(text: str, bodies: list[str]) -> str:
    """A document with its fenced blocks' contents replaced, one by one."""
    remaining = iter(bodies)
    return FENCED.sub(lambda block: f"```{block[1]}\n{next(remaining)}```", text)


def _answers(commands: str, server: str, language: str) -> str:
    """What the commands print, laid out as a block of this language shows it."""
    lines = []
    for command in commands.splitlines():
        command = command.replace("curl ", "curl --silent ", 1).replace(SERVER, server)
        if "Request.py" in command:
            command = f"{command.replace('.venv/bin/python', sys.executable)} --server {server}"
        lines += _printed_by(["bash", "-c", command])
    if language == "json":
        return _laid_out(json.loads(lines[0])) + "\n"
    if len(lines) > 3:
        lines = [*lines[:2], "...", lines[-1]]
    return "".join(ANSWER.sub(r"\1 ... \2 ...}", line) + "\n" for line in lines)


def _excerpt_of_the_demo() -> str:
    lines = _printed_by([sys.executable, "-m", "evaluation", "demo"])
    posts = [line for line in lines if " POST " in line]
    enrolled = [line for line in posts if "  registered  " in line]
    asked = [line for line in posts if line not in enrolled]
    wrong = [line for line in asked[2:] if line.startswith("x")]
    shown = [lines[0], *enrolled[:2], "...", *asked[:2], *wrong[:1], "...", lines[-1]]
    return "".join(f"{line}\n" for line in shown)


def _printed_by(command: list[str]) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.splitlines()


def _laid_out(answer: dict[str, object]) -> str:
    """An answer with a line for each field, and for each item of a list."""
    lines = []
    for field, value in answer.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            items = [f"    {json.dumps(item, ensure_ascii=False)}" for item in value]
            text = "[\n" + ",\n".join(items) + "\n  ]"
        lines.append(f"  {json.dumps(field)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"
