"""Keys: shown once, kept as a digest, seen and ended by every process at its next question."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from utils.errors import BadField, NotReady
from utils.keys import KeyFile, Role, allows

ROOT = Path(__file__).parent.parent


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "utils.keys", "--gallery", str(folder), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_a_key_is_found_and_nothing_near_it_is(tmp_path: Path) -> None:
    store = KeyFile(tmp_path)
    text, key = store.create("enrol", "default", "call centre")
    assert store.find(text) == key
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in ["", other, text + "x", text.upper(), "sis_00000000_" + text[13:], "sis_\udcff"]:
        assert store.find(wrong) is None


def test_the_file_holds_no_key_and_is_the_owners(tmp_path: Path) -> None:
    text, key = KeyFile(tmp_path).create("admin", "default")
    path = tmp_path / "keys.json"
    assert text not in path.read_text()
    assert text.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.key_id in text


def test_a_revoked_key_ends_in_every_process_and_opens_nothing(tmp_path: Path) -> None:
    here, there = KeyFile(tmp_path), KeyFile(tmp_path)
    assert not there.is_configured()
    text, key = here.create("identify", "default")
    assert there.find(text) == key
    here.revoke(key.key_id)
    assert there.find(text) is None
    assert there.is_configured()


def test_no_key_is_lost_where_many_are_made_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(lambda _: KeyFile(tmp_path).create("identify", "default")[0], range(24))
        )
    store = KeyFile(tmp_path)
    assert all(store.find(text) for text in made)


@pytest.mark.parametrize("content", [b"", b"{}}", b'[{"key_id": "x"}]', b"\xff"])
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    store = KeyFile(tmp_path)
    text, _ = store.create("admin", "default")
    (tmp_path / "keys.json").write_bytes(content)
    for ask in (lambda: store.find(text), store.is_configured, store.listed):
        with pytest.raises(NotReady, match="restore the file"):
            ask()


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("identify", ["identify"]),
        ("enrol", ["identify", "enrol"]),
        ("admin", ["identify", "enrol", "admin"]),
    ],
)
def test_each_role_may_what_those_below_it_may(role: Role, may: list[Role]) -> None:
    roles: list[Role] = ["identify", "enrol", "admin"]
    assert [one for one in roles if allows(role, one)] == may


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadField, match="identify, enrol, admin"):
        KeyFile(tmp_path).create("root", "default")  # type: ignore[arg-type]


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    made = command(tmp_path, "create", "--role", "admin", "--note", "홍길동")
    text = made.stdout.strip()
    key = KeyFile(tmp_path).find(text)
    assert key is not None
    assert (key.role, key.collection, key.note) == ("admin", "default", "홍길동")
    assert "홍길동" in command(tmp_path, "list").stdout
    assert command(tmp_path, "revoke", key.key_id).returncode == 0
    [listed] = json.loads(command(tmp_path, "list", "--json").stdout)
    assert listed["revoked_at"] is not None
    assert "sha256" not in listed
    missing = command(tmp_path, "revoke", "00000000")
    assert (missing.returncode, missing.stdout, missing.stderr.count("\n")) == (1, "", 1)
