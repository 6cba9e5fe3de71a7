"""What a 200 promises, tried on real server processes: kills, and two servers over one gallery."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from utils.embedding import BEST_MODEL, ModelFiles
from utils.gallery import FolderGallery

CLIPS = [
    DATA / f"ast{speaker}@example.org-{number}.mp4" for speaker in (4, 5, 6) for number in (0, 2)
]
N_CHANGES = 200
N_KILLS = 12
N_SPEAKERS = 25
SEED = 7


def send(server: ServerProcess, name: str, content: bytes, **fields: str) -> dict:
    reply = requests.post(
        f"{server.url}/Identification_Request",
        data=fields,
        files={"file": (name, content)},
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    return reply.json()


def stored(gallery: Path) -> dict[str, np.ndarray]:
    """Every recording in the gallery's folder, as anybody's numpy reads it."""
    return {
        path.name: np.load(path, allow_pickle=False)
        for path in (gallery / "voice_gallery").glob("*.npy")
    }


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """SIGKILL at random moments of registrations, re-registrations and deletions.

    Deletions are made by a second process over the same gallery (this one), as the seed contract
    has no route for them.
    """
    random_ = random.Random(SEED)
    contents = [clip.read_bytes() for clip in CLIPS]
    model_id = ModelFiles(BEST_MODEL).model_id
    expected: dict[str, int] = {}  # speaker -> number of the one recording enrolled
    kill_at = set(random_.sample(range(N_CHANGES), N_KILLS))
    server = ServerProcess(tmp_path)
    server.wait_until_ready()
    gallery = FolderGallery(tmp_path, model_id)
    killed_in_flight = 0
    try:
        for change in range(N_CHANGES):
            speaker = f"s{random_.randrange(N_SPEAKERS)}@example.org"
            if speaker in expected and random_.random() < 0.3:
                gallery.delete(speaker)
                del expected[speaker]
                continue
            before, number = expected.get(speaker), change
            fields = {"re_register": "True"} if before is not None else {}
            content = random_.choice(contents)
            killer = None
            if change in kill_at:
                # 10 to 60 ms: from the decoding to behind the answer
                killer = threading.Timer(random_.uniform(0.01, 0.06), server.kill)
                killer.start()
            try:
                answer = send(server, f"{speaker}-{number}.mp4", content, **fields)
                assert answer["decision"] == ("re_registered" if fields else "registered")
                expected[speaker] = number
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                assert killer is not None
                killed_in_flight += 1
                after = enrolled_number(tmp_path, model_id, speaker)
                assert after in (before, number), "neither wholly old nor wholly new"
                if after is not None:
                    expected[speaker] = after
            if killer is not None:
                killer.join()
                server = ServerProcess(tmp_path)
                server.wait_until_ready()
    finally:
        gallery.close()
        server.kill()
    assert killed_in_flight >= 3, "the kills came at the wrong moments to prove anything"
    with running_server(tmp_path) as again:
        ready = requests.get(f"{again.url}/readyz", timeout=10).json()
    assert (ready["speakers"], ready["files_skipped"]) == (len(expected), 0)
    files = stored(tmp_path)
    assert set(files) == {f"{s.replace('@', '%40')}-{n}.npy" for s, n in expected.items()}
    for rows in files.values():
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3)


def enrolled_number(folder: Path, model_id: str, speaker: str) -> int | None:
    """The number of a speaker's one recording, once a process has opened the gallery again."""
    gallery = FolderGallery(folder, model_id)
    try:
        if speaker not in gallery:
            return None
        (recording,) = gallery.recordings(speaker)
        return int(recording.number)
    finally:
        gallery.close()


def test_two_servers_over_one_gallery_lose_nothing_and_see_all(tmp_path: Path) -> None:
    n_clients, n_each = 8, 6
    contents = [clip.read_bytes() for clip in CLIPS]
    with running_server(tmp_path) as one, running_server(tmp_path) as other:
        servers = (one, other)

        def client(number: int) -> list[tuple[str, str, float]]:
            seen = []
            for round_ in range(n_each):
                name = f"c{number}-{round_}@example.org-0.mp4"
                content = contents[(number + round_) % len(contents)]
                first, second = servers[round_ % 2], servers[1 - round_ % 2]
                at_first = send(first, name, content)["decision"]
                at_second = send(second, name, content)  # at once, through the other process
                seen.append((at_first, at_second["decision"], at_second["score"]))
            return seen

        with ThreadPoolExecutor(n_clients) as pool:
            seen = [each for rows in pool.map(client, range(n_clients)) for each in rows]
        counts = [
            requests.get(f"{server.url}/readyz", timeout=10).json()["speakers"]
            for server in servers
        ]
    assert [decisions[:2] for decisions in seen] == [("registered", "identified")] * len(seen)
    assert min(score for *_, score in seen) > 0.999
    assert counts == [n_clients * n_each] * 2
    assert len(stored(tmp_path)) == n_clients * n_each


def test_several_processes_of_one_server_share_the_gallery(tmp_path: Path) -> None:
    content = CLIPS[0].read_bytes()
    with running_server(tmp_path, "--processes", "2", "--threads", "2") as server:

        def decide(_: int) -> str:
            return send(server, "a@example.org-0.mp4", content)["decision"]

        with ThreadPoolExecutor(8) as pool:
            decisions = list(pool.map(decide, range(24)))
    assert sorted(decisions) == ["identified"] * 23 + ["registered"]
