"""Clients of the real server: what they ask, what came of it, and what the server owes them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from urllib.parse import quote

import requests
from urllib3 import connection_from_url, encode_multipart_formdata
from urllib3.exceptions import HTTPError

DATA = Path(__file__).parent.parent / "data"
TIMEOUT_S = 60.0
SHARES = {"identify": 8, "enrol": 1, "delete": 1}
NO_ANSWER = 0  # a status that HTTP does not have


@dataclass
class Ledger:
    """What was answered: shared by all clients, and what the server is held to afterwards."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    """Of requests answered 2xx, from when they were due."""
    enrolled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Changes without an answer: made or not, either is right."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of_status(self, *statuses: int) -> int:
        return sum(n for (_, status), n in self.statuses.items() if status in statuses)

    @property
    def errors(self) -> dict[str, int]:
        """What was neither answered nor refused for overload."""
        return {
            f"{what} {status or 'no answer'}": count
            for (what, status), count in sorted(self.statuses.items())
            if not (200 <= status < 300 or status == 503)
        }

    def note_enrolment(self, speaker_id: str, status: int) -> None:
        """Somebody was to be enrolled, and this came of it."""
        with self.lock:
            if status == NO_ANSWER:
                self.unknown.add(speaker_id)
            elif 200 <= status < 300:
                self.enrolled.add(speaker_id)

    def missing(self, url: str) -> list[str]:
        """What the server does not have that it answered for, or still has: must be none."""
        has, offset = set(), 0
        while True:
            reply = requests.get(
                f"{url}/v1/speakers", params={"limit": 100, "offset": offset}, timeout=TIMEOUT_S
            ).json()
            has |= {one["speaker_id"] for one in reply["speakers"]}
            offset += 100
            if offset >= reply["total"]:
                break
        lost = [f"lost: {one}" for one in sorted(self.enrolled - has - self.unknown)]
        back = [f"came back: {one}" for one in sorted((self.deleted & has) - self.unknown)]
        return lost + back


@cache
def sample_clips() -> list[bytes]:
    return [path.read_bytes() for path in sorted(DATA.glob("ast*.mp4"))]


@cache
def enrolling_clips(url: str) -> list[bytes]:
    """Those of them with enough speech to be enrolled, as a server hears it."""
    found = []
    for clip in sample_clips():
        reply = requests.post(f"{url}/v1/embed", files={"audio": clip}, timeout=TIMEOUT_S)
        reply.raise_for_status()
        if reply.json()["quality"]["speech_s"] >= 3.0:
            found.append(clip)
    return found


class Traffic:
    """Many clients at once against one server."""

    def __init__(self, url: str, ledger: Ledger, seed: int = 1) -> None:
        self._url = url
        self.ledger = ledger
        self._seed = seed
        self._ids = itertools.count()
        self._clips = sample_clips()
        self._enrolling = enrolling_clips(url)
        self._settle()

    def closed_loop(self, clients: int, seconds: float) -> float:
        """Every client sends as soon as it was answered; gives requests answered 2xx a second."""
        until = time.monotonic() + seconds
        return self._run(clients, lambda number: self._unpaced(number, until))

    def paced(self, rate: float, clients: int, seconds: float, tell: Callable[[], object]) -> float:
        """So many requests a second are due, whatever the answers take; gives 2xx a second."""
        begin = time.monotonic()

        def client(number: int) -> None:
            random = Random(f"{self._seed}/{number}")  # noqa: S311
            for turn in itertools.count():
                due = begin + (turn * clients + number) / rate
                if due > begin + seconds:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                self._ask(random, due)
                tell()

        return self._run(clients, client)

    def _unpaced(self, number: int, until: float) -> None:
        random = Random(f"{self._seed}/{number}")  # noqa: S311
        while time.monotonic() < until:
            self._ask(random, time.monotonic())

    def _run(self, clients: int, client: Callable[[int], None]) -> float:
        answered, started = len(self.ledger.times_ms), time.monotonic()
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (len(self.ledger.times_ms) - answered) / (time.monotonic() - started)

    def _ask(self, random: Random, due: float) -> None:
        what = random.choices(list(SHARES), list(SHARES.values()))[0]
        if what == "delete":
            with self.ledger.lock:
                speaker_id = self.ledger.enrolled.pop() if self.ledger.enrolled else None
            if speaker_id is not None:
                self._delete(speaker_id, due)
                return
            what = "enrol"
        if what == "enrol":
            self._enrol(f"visitor {next(self._ids)} of {self._seed}", random, due)
        else:
            self._post("identify", due, "/v1/identify", random.choice(self._clips))

    def _enrol(self, speaker_id: str, random: Random, due: float) -> None:
        clip = random.choice(self._enrolling)
        status = self._post("enrol", due, "/v1/speakers", clip, speaker_id=speaker_id)
        self.ledger.note_enrolment(speaker_id, status)

    def _delete(self, speaker_id: str, due: float) -> None:
        status = self._send("delete", due, "DELETE", f"/v1/speakers/{quote(speaker_id)}")
        with self.ledger.lock:
            if 200 <= status < 300:
                self.ledger.deleted.add(speaker_id)
            elif status == NO_ANSWER:
                self.ledger.unknown.add(speaker_id)
            else:  # refused: it stays
                self.ledger.enrolled.add(speaker_id)

    def _post(self, what: str, due: float, path: str, clip: bytes, **fields: str) -> int:
        body, kind = encode_multipart_formdata({"audio": ("clip.mp4", clip), **fields})
        return self._send(what, due, "POST", path, body, {"Content-Type": kind})

    def _send(
        self,
        what: str,
        due: float,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> int:
        """By a connection of its own, and by urllib3 alone: it takes a third of the time."""
        try:
            with connection_from_url(self._url, timeout=TIMEOUT_S, retries=False) as pool:
                status = pool.request(method, path, body=body, headers=headers).status
        except HTTPError:
            status = NO_ANSWER
        with self.ledger.lock:
            self.ledger.statuses[what, status] += 1
            if 200 <= status < 300:
                self.ledger.times_ms.append(1e3 * (time.monotonic() - due))
        return status

    def _settle(self) -> None:
        """Has somebody there whom nobody deletes: an empty gallery answers otherwise."""
        reply = requests.post(
            f"{self._url}/v1/speakers",
            data={"speaker_id": "resident"},
            files={"audio": self._enrolling[0]},
            timeout=TIMEOUT_S,
        )
        assert reply.status_code in {200, 201, 409}, reply.text
