"""The container's files, checked without an engine: linted, complete, locked down."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINTER = Path(sys.executable).with_name("hadolint")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return dict(found["services"])


@pytest.mark.skipif(not LINTER.exists(), reason="hadolint is not installed")
def test_the_dockerfile_is_as_the_linter_wants_it() -> None:
    done = subprocess.run(
        [str(LINTER), "--failure-threshold", "info", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_let_through() -> None:
    let_through = {
        line.removeprefix("!").strip()
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = [
        word.replace("${TIER}", tier)
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for word in words.split()
        for tier in ("server", "gpu")
    ]
    assert {"app.py", "web", "utils", "best_model"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.split("/")[0] in let_through, name


def test_everything_that_the_server_imports_is_copied() -> None:
    """And nothing else of ours: the rooms for training stay out."""
    script = (
        "import sys; from web.application import create_app; import app; "
        "print({name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"Request"}
    loaded = {name for name in rooms if f"'{name}'" in done.stdout}
    assert loaded == {"web", "utils"}


def test_it_runs_as_nobody_in_particular_and_listens_with_keys_only() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9][0-9]+$", last, re.MULTILINE)
    assert "SPEAKER_HOST=0.0.0.0" in last
    assert "SPEAKER_OPEN" not in DOCKERFILE
    assert re.search(r"^HEALTHCHECK .*\n.*readyz", last, re.MULTILINE)
    assert "pip install" not in last


@pytest.mark.parametrize("name", ["server", "gpu"])
def test_a_service_may_write_its_gallery_and_nothing_else(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["gallery:/gallery"]
    assert service["tmpfs"] == ["/tmp"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", ["server", "gpu"])
def test_the_commands_flags_are_ones_that_there_are(name: str) -> None:
    shown = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    flags = [word for word in services()[name]["command"] if word.startswith("--")]
    assert flags
    assert all(f"{flag} " in shown for flag in flags)
