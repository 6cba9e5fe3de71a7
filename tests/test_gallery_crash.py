"""The gallery under SIGKILL: whatever the moment, it opens, and every returned change is in it.

Children are real processes over a real folder. Some are killed at random moments; some kill
themselves before one chosen call to the system, and each such call is chosen in turn.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import FrameType

import numpy as np
import pytest

from utils.errors import AlreadyEnrolled, LastRecording, NoSuchRecording, NotEnrolled
from utils.gallery import FolderGallery, Gallery, Profile, Take
from utils.gallery.npy import encode_embeddings
from utils.scoring import EMBEDDING_SIZE, centroid
from utils.sealing import NO_SEAL, KeySeal, Seal
from utils.speaker_id import recording_file_name

pytest.importorskip("fcntl", reason="SIGKILL and forkserver of POSIX")

MODEL = "crnn-1"
SEAL = KeySeal(bytes(32))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.test_gallery_crash"])

N_ROUNDS = 20  # two kills each
LONG_ID = "홍길동" * 40  # its name is cut into folders
# What a speaker has: by the recording's number, the seed of its embeddings.
State = dict[str, int]
Change = tuple[str, str, str, int]  # method, speaker ID, number (of "rename": new ID), seed

# The calls by which a change reaches the disk, named as the interpreter's profiler names them.
SYSTEM_CALLS = {
    "open", "write", "flush", "fsync", "replace", "unlink", "rmdir", "mkdir", "scandir",
    "execute", "executemany", "executescript",
}  # fmt: skip


def rows(seed: int) -> np.ndarray:
    """float32 (3, 64) of unit length, others for each seed."""
    values = np.random.default_rng(seed).standard_normal((3, EMBEDDING_SIZE))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


SEED_OF = {rows(seed).tobytes(): seed for seed in range(200)}


def put_file(folder: Path, speaker_id: str, number: str, seed: int) -> None:
    name = recording_file_name(speaker_id, number)
    path = folder / "voice_gallery" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(seal_of(folder).seal(encode_embeddings(rows(seed)), name))


def seal_of(folder: Path) -> Seal:
    return SEAL if (folder / "encryption.json").exists() else NO_SEAL


def open_gallery(folder: Path) -> Gallery:
    return FolderGallery(folder, MODEL, keep_recordings=True, seal=seal_of(folder))


def on_disk(folder: Path, speaker_id: str) -> State:
    """What the files alone say of a speaker: the truth, by other means than the gallery's."""
    state = {}
    for number in range(10):
        name = recording_file_name(speaker_id, str(number))
        path = folder / "voice_gallery" / name
        if path.exists():
            data = io.BytesIO(seal_of(folder).unseal(path.read_bytes(), name))
            state[str(number)] = SEED_OF[np.load(data, allow_pickle=False).tobytes()]
    return state


def enrolled(folder: Path, gallery: Gallery, speaker_id: str) -> State:
    """What the gallery says of a speaker, once index, files and search are seen to agree."""
    state = on_disk(folder, speaker_id)
    assert [one.number for one in gallery.recordings(speaker_id)] == sorted(state)
    assert (speaker_id in gallery) == bool(state)
    if state:
        probe = centroid(np.vstack([rows(state[number]) for number in sorted(state)]))
        found = {one.speaker_id: one.score for one in gallery.search(probe, top=100)}
        assert found[speaker_id] == pytest.approx(1.0, abs=1e-6)
    return state


def after(change: Change, state: State) -> State:
    """What a speaker has once the change has returned."""
    method, _, number, seed = change
    if method in {"delete", "rename"}:
        return {}
    if method == "add":
        return {number: seed, **state} if state else state
    if method == "remove":
        return (
            {one: had for one, had in state.items() if one != number} if len(state) > 1 else state
        )
    if method == "replace by two":
        return {number: seed, f"{int(number) + 1}": seed + 1}
    return state if method == "register" and state else {number: seed}


def after_all(change: Change, states: dict[str, State]) -> dict[str, State]:
    """What everybody has once the change has returned."""
    method, speaker_id, new_id, _ = change
    own = states.get(speaker_id, {})
    renamed = {new_id: own} if method == "rename" else {}
    return {**states, speaker_id: after(change, own), **renamed}


def carry_out(gallery: Gallery, change: Change) -> None:
    method, speaker_id, number, seed = change
    try:
        if method == "delete":
            gallery.delete(speaker_id)
        elif method == "add":
            gallery.add(speaker_id, number, rows(seed), 1.0, most=9, media=b"sound")
        elif method == "remove":
            gallery.remove_recording(speaker_id, number)
        elif method == "rename":
            gallery.rename(speaker_id, number)
        elif method == "replace by two":
            takes = [Take(rows(seed), 1.0, number), Take(rows(seed + 1), 1.0, str(int(number) + 1))]
            gallery.enrol_several(speaker_id, takes, "replace", profile=Profile({"seed": seed}))
        else:
            getattr(gallery, method)(speaker_id, number, rows(seed), 1.0, media=b"sound")
    except (AlreadyEnrolled, NotEnrolled, NoSuchRecording, LastRecording):
        pass


def assert_nothing_is_left_over(folder: Path) -> None:
    assert {one.name for one in folder.iterdir()} <= {
        "voice_gallery", "recordings", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm",
        ".lock", "encryption.json",
    }  # fmt: skip
    voices = folder / "voice_gallery"
    for path in voices.rglob("*"):
        assert path.suffix in {".npy", ".json"} or any(path.iterdir()), path
    for path in (folder / "recordings").rglob("*.media"):
        name = path.relative_to(folder / "recordings").with_suffix(".npy")
        assert (voices / name).exists(), "sound without its recording"


# Kills at random moments


def change_without_end(folder: Path, pipe: Connection, ids: list[str], seed: int) -> None:
    """Changes its own speakers as fast as it can; tells each change before and after it."""
    random = Random(seed)
    with open_gallery(folder) as gallery:
        while True:
            methods = ["register", "add", "replace", "replace by two", "remove", "delete"]
            method = random.choice(methods)
            speaker_id, number = random.choice(ids), str(random.randrange(3))
            change = (method, speaker_id, number, random.randrange(200))
            pipe.send(change)
            carry_out(gallery, change)
            pipe.send("returned")


class Child:
    """One such process, and what it has told."""

    def __init__(self, folder: Path, ids: list[str], seed: int, states: dict[str, State]) -> None:
        self.ids = ids
        self.states = states  # of all speakers; each child has its own ones
        self.in_flight: Change | None = None
        self.n_returned = 0
        self.pipe, theirs = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(
            target=change_without_end, args=(folder, theirs, ids, seed), daemon=True
        )
        self.process.start()
        theirs.close()

    def listen(self, until: Callable[[], bool]) -> None:
        while not until():
            if self.pipe.poll(0.005):
                self._take(self.pipe.recv())

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        try:
            while True:
                self._take(self.pipe.recv())
        except EOFError:
            self.pipe.close()

    def _take(self, message: Change | str) -> None:
        if isinstance(message, str):
            assert self.in_flight is not None
            speaker_id = self.in_flight[1]
            self.states[speaker_id] = after(self.in_flight, self.states[speaker_id])
            self.in_flight = None
            self.n_returned += 1
        else:
            self.in_flight = message


def test_no_returned_change_is_lost_and_none_is_half_done(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    random = Random(20)
    ids = [["a", "b", LONG_ID], ["c", "D", "d"]]
    states: dict[str, State] = {one: {} for part in ids for one in part}
    n_returned = 0
    for turn in range(N_ROUNDS):
        children = [Child(folder, part, random.random(), states) for part in ids]  # type: ignore[arg-type]
        deadline = time.monotonic() + random.uniform(0.0, 0.35)
        while time.monotonic() < deadline:
            for child in children:
                child.listen(lambda: not child.pipe.poll(0.002))  # noqa: B023
        victim, survivor = children if turn % 2 else children[::-1]
        victim.kill()
        enough = survivor.n_returned + 2
        patience = time.monotonic() + 20
        survivor.listen(lambda: survivor.n_returned >= enough or time.monotonic() > patience)  # noqa: B023
        assert survivor.n_returned >= enough, "the dead process holds the living one up"
        survivor.kill()
        n_returned += victim.n_returned + survivor.n_returned
        with open_gallery(folder) as gallery:
            for child in children:
                for speaker_id in child.ids:
                    now = enrolled(folder, gallery, speaker_id)
                    allowed = [states[speaker_id]]
                    if child.in_flight and child.in_flight[1] == speaker_id:
                        allowed.append(after(child.in_flight, states[speaker_id]))
                    assert now in allowed, (turn, speaker_id, child.in_flight)
                    states[speaker_id] = now
            assert gallery.skipped == []
        assert_nothing_is_left_over(folder)
        if turn % 4 == 3:
            (folder / "index.sqlite").unlink()
            with open_gallery(folder) as gallery:
                assert {one: enrolled(folder, gallery, one) for one in states} == states
        # Several recordings a speaker come about by copying; the next round changes them.
        speaker_id = random.choice(sorted(states))
        if states[speaker_id]:
            put_file(folder, speaker_id, "7", 7)
            states[speaker_id] = {**states[speaker_id], "7": 7}
    assert n_returned > N_ROUNDS


# Kills before each call to the system in turn


def die_at_call(nth: int) -> list[str]:
    """Makes this process kill itself before its nth call; gives the list of those it came to."""
    calls: list[str] = []

    def look(_: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        if event == "c_call" and name in SYSTEM_CALLS and not isinstance(owner, str | bytes):
            calls.append(name)
            if len(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)
    return calls


def fork_to_die(folder: Path, nth: int, change: Change | None) -> Callable[[], bool]:
    """Forks a process that dies on the way through a change, or through an opening.

    Returns:
        What lets it begin, waits for its end, and tells whether it was killed.
    """
    go, begin = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(go, 1)
            if change is None:
                die_at_call(nth)
                open_gallery(folder)
            else:
                gallery = open_gallery(folder)
                die_at_call(nth)
                carry_out(gallery, change)
            sys.setprofile(None)
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)

    def end() -> bool:
        os.write(begin, b"g")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(go)
        os.close(begin)
        assert status in (0, -signal.SIGKILL)
        return status != 0

    return end


def sweep(
    pipe: Connection, states: dict[str, State], change: Change, is_sealed: bool = False
) -> None:
    """Kills a change before each of its calls; sends how many there were, or what went wrong."""
    try:
        pipe.send(_sweep(states, change, is_sealed))
    except BaseException:  # noqa: BLE001
        pipe.send(traceback.format_exc())


def _sweep(states: dict[str, State], change: Change, is_sealed: bool) -> int:
    new = after_all(change, states)
    old: dict[str, State] = {**{one: {} for one in new}, **states}
    seen: list[dict[str, State]] = []
    with memory_folder() as home:
        template = make_template(home, states, is_sealed)
        give_profiles(template, states)
        for nth in range(1, 1000):
            folder = home / f"gallery {nth}"
            shutil.copytree(template, folder)
            end = fork_to_die(folder, nth, change)
            # Opened after the fork and before the kill: it goes on where the other has died.
            with open_gallery(folder) as survivor:
                killed = end()
                survivor.register("bystander", "0", rows(3), 1.0)
                seen.append({one: enrolled(folder, survivor, one) for one in new})
                assert seen[-1] in (old, new), (nth, seen[-1])
            with open_gallery(folder) as reopened:
                assert {one: enrolled(folder, reopened, one) for one in new} == seen[-1], nth
                assert reopened.skipped == []
            assert_nothing_is_left_over(folder)
            shutil.rmtree(folder)
            if not killed:
                break
    assert seen[0] == old
    assert seen[-1] == new
    return len(seen)


def sweep_recovery(
    pipe: Connection, states: dict[str, State], change: Change, is_sealed: bool = False
) -> None:
    """Kills a change in the middle, and then the opening that recovers it before each call."""
    try:
        pipe.send(_sweep_recovery(states, change, is_sealed))
    except BaseException:  # noqa: BLE001
        pipe.send(traceback.format_exc())


def _sweep_recovery(states: dict[str, State], change: Change, is_sealed: bool) -> int:
    new = after_all(change, states)
    allowed: list[dict[str, State]] = [{**{one: {} for one in new}, **states}, new]
    n_kills = 0
    with memory_folder() as home:
        template = make_template(home, states, is_sealed)
        give_profiles(template, states)
        for first in range(10, 1000, 12):  # by then the intent stands, or soon will
            killed_once = home / f"killed at {first}"
            shutil.copytree(template, killed_once)
            if not fork_to_die(killed_once, first, change)():
                break
            for nth in range(1 + first % 4, 1000, 4):  # other calls for each first kill
                folder = home / f"gallery {first} {nth}"
                shutil.copytree(killed_once, folder)
                killed = fork_to_die(folder, nth, None)()
                with open_gallery(folder) as gallery:
                    now = {one: enrolled(folder, gallery, one) for one in new}
                    assert now in allowed, (first, nth)
                assert_nothing_is_left_over(folder)
                shutil.rmtree(folder)
                n_kills += killed
                if not killed:
                    break
    return n_kills


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing of it either."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def make_template(home: Path, states: dict[str, State], is_sealed: bool = False) -> Path:
    template = home / "template"
    if is_sealed:
        FolderGallery(template, MODEL, seal=SEAL).close()
    for speaker_id, state in states.items():
        for number, seed in state.items():
            put_file(template, speaker_id, number, seed)
    open_gallery(template).close()
    return template


def give_profiles(template: Path, states: dict[str, State]) -> None:
    with open_gallery(template) as gallery:
        for speaker_id in states:
            gallery.set_profile(speaker_id, Profile({"site": "Seoul"}))


def run(target: Callable[..., None], *arguments: object) -> object:
    """Runs a function in a process of its own, where one may fork; gives what it sends."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()
        ours.close()


STATES: dict[str, State] = {
    "hong": {"0": 1, "1": 2, "5": 3},
    LONG_ID: {"0": 4, "1": 5},
    "kim": {"0": 6},
}


@pytest.mark.parametrize(
    ("method", "speaker_id", "number"),
    [
        ("register", "new", "0"),
        ("register", "새" * 60, "0"),
        ("add", "hong", "9"),
        ("add", LONG_ID, "7"),
        ("replace", "hong", "1"),
        ("replace", "hong", "9"),
        ("replace", LONG_ID, "0"),
        ("replace", "new", "0"),
        ("replace by two", "hong", "1"),
        ("replace by two", "new", "0"),
        ("remove", "hong", "1"),
        ("remove", LONG_ID, "0"),
        ("rename", "hong", "new"),
        ("rename", LONG_ID, "새" * 60),
        ("delete", "hong", ""),
        ("delete", LONG_ID, ""),
    ],
    ids=lambda value: value[:8],
)
def test_a_kill_before_any_call_leaves_the_old_or_the_new(
    method: str, speaker_id: str, number: str
) -> None:
    n_kills = run(sweep, STATES, (method, speaker_id, number, 99))
    assert isinstance(n_kills, int), n_kills
    assert n_kills > 10


@pytest.mark.parametrize("walk", [sweep, sweep_recovery], ids=["change", "recovery"])
def test_a_kill_while_a_sealed_voice_gets_another_name_loses_nothing(
    walk: Callable[..., None],
) -> None:
    n_kills = run(walk, STATES, ("rename", "hong", "new", 99), True)
    assert isinstance(n_kills, int), n_kills
    assert n_kills > 30


@pytest.mark.parametrize(
    ("method", "number"), [("replace by two", "1"), ("rename", "new"), ("delete", "")]
)
def test_a_recovery_may_be_killed_too(method: str, number: str) -> None:
    n_kills = run(sweep_recovery, STATES, (method, "hong", number, 99))
    assert isinstance(n_kills, int), n_kills
    assert n_kills > 30


# Power cuts: what must be on the disk before what


@pytest.mark.parametrize(
    ("change", "order"),
    [
        (("register", "new", "0", 9), "fsync replace fsync COMMIT"),
        (("add", "hong", "9", 9), "fsync replace fsync COMMIT"),
        (("remove", "hong", "0", 9), "unlink fsync COMMIT"),
        (
            ("replace", "hong", "1", 9),
            "fsync fsync COMMIT replace fsync unlink unlink fsync COMMIT",
        ),
        (("delete", "hong", "", 0), "COMMIT unlink unlink unlink fsync COMMIT"),
    ],
    ids=["register", "add", "remove", "replace", "delete"],
)
def test_each_step_is_on_the_disk_before_the_next(
    tmp_path: Path, change: Change, order: str
) -> None:
    calls: list[str] = []

    def look(frame: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        if event == "c_call" and function in {os.fsync, os.replace, os.unlink}:
            calls.append(name)
        elif name == "execute" and event == "c_call":
            calls.extend(["COMMIT"] * (frame.f_locals.get("statement") == "COMMIT"))

    with FolderGallery(make_template(tmp_path, STATES), MODEL) as gallery:
        sys.setprofile(look)
        try:
            carry_out(gallery, change)
        finally:
            sys.setprofile(None)
    assert calls[-1] == "unlink"  # of the mark that something is being written
    assert " ".join(calls[:-1]) == order
