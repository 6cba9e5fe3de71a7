"""Decoding in a cage: the same waves and errors, and nothing that happens in it reaches out."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import requests
from werkzeug.test import TestResponse

from evaluation.server import running_server
from tests import media
from tests.conftest import DATA
from utils.audio import AudioLimits, decode
from utils.audio.cage import Cage
from utils.collections import DEFAULT
from utils.errors import NotDecodable, NotReady, RecordingNotFound, SpeakerServerError, TooSlow
from utils.live import Live
from web.application import check, create_app
from web.settings import Settings

if sys.platform != "linux":
    pytest.skip("the cage needs Linux", allow_module_level=True)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cage() -> Iterator[Cage]:
    with closing(Cage(1)) as cage:
        yield cage


def children() -> list[int]:
    """The decoding processes of this one."""
    me = os.getpid()
    listed = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return [
        pid for pid in map(int, listed) if b"caged" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_waves_are_those_of_the_plain_decoder(cage: Cage) -> None:
    for clip in sorted(DATA.glob("*-0.mp4")):
        expected = decode(clip)
        content = clip.read_bytes()
        with clip.open("rb") as stream:
            for source in (clip, content, io.BytesIO(content), stream):
                assert np.array_equal(cage.decode(source), expected)


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        (b"", AudioLimits()),
        (b"no recording", AudioLimits()),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", AudioLimits()),
        (bytes(2_000), AudioLimits(max_bytes=1_000)),
        (media.wav(np.zeros((32_000, 1), np.int16), 16_000), AudioLimits(max_seconds=1.0)),
        (media.wav(np.zeros((32_000, 1), np.int16), 1_000), AudioLimits()),
    ],
)
def test_refusals_are_those_of_the_plain_decoder(
    cage: Cage, content: bytes, limits: AudioLimits
) -> None:
    with pytest.raises(SpeakerServerError) as plain:
        decode(content, limits)
    with pytest.raises(type(plain.value)) as caged:
        cage.decode(content, limits)
    assert str(caged.value) == str(plain.value)
    assert cage.decode(DATA / "ast1@example.org-0.mp4").size, "and goes on"


def test_a_path_that_leads_nowhere_is_told_before_the_cage(cage: Cage, tmp_path: Path) -> None:
    with pytest.raises(RecordingNotFound):
        cage.decode(tmp_path / "none.mp4")


def test_a_process_that_dies_costs_one_request_an_error(cage: Cage, clip: Path) -> None:
    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cage.decode, clip)
        time.sleep(0.2)  # it has the recording by now
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(NotDecodable, match="another form"):
            asked.result()
    assert cage.decode(clip).size
    assert children() != [pid]


def test_a_process_that_dies_while_idle_costs_nobody_anything(cage: Cage, clip: Path) -> None:
    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert np.array_equal(cage.decode(clip), decode(clip))


def test_what_interrupts_an_answer_does_not_put_the_next_one_out_of_step(
    cage: Cage, clip: Path
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupted):
            cage.decode(clip)
    finally:
        signal.signal(signal.SIGALRM, before)
    other = DATA / "ast2@example.org-0.mp4"
    assert np.array_equal(cage.decode(other), decode(other))


@pytest.mark.parametrize(
    ("program", "sentence"),
    [("/bin/false", "needs .* libseccomp.*--decoders 0"), ("/nowhere", "No such file")],
)
def test_a_process_that_cannot_start_is_the_servers_fault(
    cage: Cage, clip: Path, monkeypatch: pytest.MonkeyPatch, program: str, sentence: str
) -> None:
    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "executable", program)
        with pytest.raises(NotReady, match=sentence):
            Cage(1)
        with pytest.raises(TooSlow):  # this one it could still be handed
            cage.decode(clip, AudioLimits(max_decode_s=0.1))
        for _ in range(2):
            with pytest.raises(NotReady, match=sentence):
                cage.decode(clip)
    assert np.array_equal(cage.decode(clip), decode(clip)), "and goes on as soon as it can"


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NotReady, match="needs Linux; start the server with --decoders 0"):
        Cage(1)


def test_a_server_that_cannot_decode_apart_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(Settings(gallery=tmp_path, decoders=2))
    assert children() == []
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotReady, match="--decoders 0"):
        check(Settings(gallery=tmp_path, decoders=2))
    check(Settings(gallery=tmp_path, decoders=0))


def test_auto_does_without_where_it_must_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(gallery=tmp_path)
    assert settings.decoders == "auto"
    check(settings)
    assert "own process" not in caplog.text
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert create_app(settings).extensions["decoders"] is None
    assert caplog.text.count("decoded in the server's own process") == 1
    monkeypatch.setattr(sys, "platform", "darwin")
    caplog.clear()
    check(settings)
    assert create_app(settings).extensions["decoders"] is None
    assert caplog.text.count("decoded in the server's own process: a cage needs Linux") == 1


def test_every_way_decodes_in_the_cage(
    tmp_path: Path, clip: Path, voice: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no decoding process can be had any more, nothing is decoded in the server instead."""
    app = create_app(Settings(gallery=tmp_path))
    client, galleries = app.test_client(), app.extensions["galleries"]
    named = {"name": clip.name, "path_dir": str(DATA)}
    assert client.post("/Identification_Request", data=named).status_code == 200
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for pid in children():
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    recording = media.wav((voice[:48_000, None] * 32_767).astype(np.int16), 16_000)

    def ask(path: str, *files: str, **fields: str) -> TestResponse:
        sent = {field: (io.BytesIO(recording), "a.wav") for field in files or ("audio",)}
        return client.post(path, data={**sent, **fields})

    speaker = "ast1@example.org"
    replies = [
        client.post("/Identification_Request", data=named),
        ask("/Identification_Request", "file", name="new-0.wav"),
        ask("/v1/identify"),
        ask("/v1/verify", speaker_id=speaker),
        ask("/v1/compare", "first", "second"),
        ask("/v1/embed"),
        ask("/v1/segments"),
        ask("/v1/speakers", speaker_id="new"),
        ask(f"/v1/speakers/{speaker}/recordings"),
    ]
    assert [reply.status_code for reply in replies] == [503] * len(replies)
    with ask("/v1/identify/batch") as batch:
        assert json.loads(batch.text)["status"] == 503
    live = Live(galleries[DEFAULT], "pcm_s16le")
    live.add(bytes(64_000))
    with pytest.raises(NotReady):
        live.answer()
    app.extensions["decoders"].close()
    galleries.close()


def test_the_server_answers_as_without_a_cage(tmp_path: Path) -> None:
    answers = []
    for decoders in ("0", "2"):
        gallery = tmp_path / decoders
        with running_server(gallery, "--decoders", decoders) as server:
            for number in (0, 1):
                name = f"ast1@example.org-{number}.mp4"
                files = {"file": (name, (DATA / name).read_bytes())}
                url = f"{server.url}/Identification_Request"
                answers.append(requests.post(url, files=files, timeout=60).json())
            broken = {"audio": ("x.mp4", b"no recording")}
            refused = requests.post(f"{server.url}/v1/identify", files=broken, timeout=60)
            assert (refused.status_code, refused.json()["title"]) == (422, "NotDecodable")
    plain, caged = [answer["score"] for answer in answers[:2]], [a["score"] for a in answers[2:]]
    assert plain == caged


def test_a_process_that_hangs_is_replaced(cage: Cage, clip: Path) -> None:
    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(TooSlow, match=r"0\.5 s"):
        cage.decode(clip, AudioLimits(max_decode_s=0.5))
    assert time.monotonic() - started < 10.0
    assert cage.decode(clip).size
    assert pid not in children()


def test_all_busy_is_answered_in_bounded_time(cage: Cage, clip: Path) -> None:
    cage.decode(clip)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(cage.decode, clip, AudioLimits(max_decode_s=2.0))
        time.sleep(0.2)
        with pytest.raises(NotReady, match="try again"):
            cage.decode(clip, AudioLimits(max_decode_s=0.2))
        with pytest.raises(TooSlow):
            hanging.result()


def test_many_threads_share_few_processes(clip: Path) -> None:
    expected = decode(clip)
    with closing(Cage(2)) as cage, ThreadPoolExecutor(8) as pool:
        waves = list(pool.map(cage.decode, [clip] * 40))
        assert all(np.array_equal(wave, expected) for wave in waves)
        assert len(children()) == 2


def test_the_processes_end_with_the_cage_and_with_a_killed_server(clip: Path) -> None:
    with closing(Cage(2)) as cage:
        cage.decode(clip)
    assert children() == []
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from utils.audio.cage import Cage
        cage = Cage(1)
        cage.decode(Path({str(clip)!r}))
        pid = os.getpid()
        print(Path(f"/proc/{{pid}}/task/{{pid}}/children").read_text(), flush=True)
        os.kill(pid, signal.SIGKILL)
    """
    done = run(script)
    (pid,) = done.stdout.split()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "deed",
    [
        "open('/etc/passwd')",
        "open('/tmp/written', 'w')",
        "__import__('socket').socket()",
        "__import__('os').fork()",
        "__import__('os').execv('/bin/true', ['true'])",
        "__import__('os').kill(1, 0)",
        "bytearray(2 << 30)",
    ],
)
def test_in_the_cage_nothing_else_can_be_done(deed: str) -> None:
    script = f"""
        import os, socket
        from utils.audio import caged
        caged._warm_up()
        caged._give_up_rights(1 << 30)
        try:
            {deed}
        except (PermissionError, MemoryError):
            os.write(1, b"refused")
        os._exit(0)
    """
    assert run(script).stdout == "refused"


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
