"""What a thief learns of somebody's voice by asking, with exact scores and with coarse ones.

The network is open, so the attacker embeds every recording that he sends by himself; the score
that comes back is its cosine to the speaker's centroid. Enough such equations are solved for the
centroid. He has recordings of other people, which he bends (speed, noise, band, mixtures) so that
they lie in all directions. An ordinary key sees coarse scores, an admin key exact ones. Counted is
how near he comes after so many questions, and whether the server would accept what he found: for
that he would still have to make sound that has this embedding. `climb` shows besides how soon
plain hill climbing (Adler 2003) succeeds where embeddings may be sent, which takes an admin key.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import wave as riff
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests
from tqdm import tqdm

from evaluation.files import write_figures
from evaluation.server import ServerProcess, running_server
from utils.audio import SAMPLE_RATE, decode
from utils.errors import BadAudio
from utils.hearing import Ear, open_ear
from utils.keys import KeyFile, Role
from utils.scoring import EMBEDDING_SIZE
from web.coarse import FLOORS
from web.settings import Settings

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
JSON = ROOT / "reliability" / "climb.json"
PAGE, MARK = ROOT / "docs" / "reliability.md", "climb"
VICTIMS, OTHERS = (1, 2, 3, 4), (5, 6, 7)
LOOKS = (64, 100, 200, 400, 600)
ROLES: Mapping[str, Role] = {"exact": "admin", "coarse": "identify"}
CHANGES = (0.05, 0.1, 0.2, 0.4)  # lengths of a change in hill climbing, taken in turn
MOST_STEPS = 3_000
AT_ONCE = 4
TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--questions", type=int, default=LOOKS[-1], help="with each key (default: %(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")


def run(arguments: argparse.Namespace) -> int:
    """`python -m reliability climb`."""
    document = climb(arguments.questions)
    print(table(document))
    if arguments.write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 0


def climb(questions: int) -> dict[str, Any]:
    """Both attacks on all victims."""
    recordings, embeddings = _bent_recordings(questions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "gallery"
        keys = {role: KeyFile(folder).create(role, "default")[0] for role in ROLES.values()}
        with running_server(folder, "--rate", "100000000") as server:
            thief = _Thief(server, keys)
            truth = thief.enrol_victims()
            solved = {}
            for shown, role in ROLES.items():
                scores = thief.ask(recordings, role)
                solved[shown] = [
                    _look(thief, embeddings[:count], scores[:count], truth)
                    for count in (*[each for each in LOOKS if each < questions], questions)
                ]
            steps = [thief.climb(embeddings[0], victim) for victim in VICTIMS]
    reached = sorted(each for each in steps if each is not None)
    return {
        "victims": len(VICTIMS),
        "rate": Settings.rate,
        "solved": solved,
        "climbed": {"reached": len(reached), "questions": reached, "most": MOST_STEPS},
    }


class _Thief:
    """Somebody with keys."""

    def __init__(self, server: ServerProcess, keys: Mapping[Role, str]) -> None:
        self._url = server.url
        self._headers = {role: {"Authorization": f"Bearer {key}"} for role, key in keys.items()}

    def enrol_victims(self) -> np.ndarray:
        """float32 (victims, 64): what nobody is to find out."""
        ear, centroids = open_ear(), []
        for victim in VICTIMS:
            for number in range(10):
                clip = (DATA / f"ast{victim}@example.org-{number}.mp4").read_bytes()
                if self._post("speakers", "admin", clip, speaker_id=_id(victim)).ok:
                    break  # enough speech in it
            embeddings, _ = ear.embeddings(clip)
            mean = embeddings.mean(axis=0)
            centroids.append(mean / np.linalg.norm(mean))
        return np.array(centroids)

    def ask(self, recordings: Sequence[bytes], role: Role) -> np.ndarray:
        """(recordings, victims): every victim's score of every recording."""

        def scores(recording: bytes) -> list[float]:
            reply = self._post("identify", role, recording, top_k=str(len(VICTIMS)))
            reply.raise_for_status()
            found = {one["speaker_id"]: one["score"] for one in reply.json()["candidates"]}
            return [found[_id(victim)] for victim in VICTIMS]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            bar = tqdm(threads.map(scores, recordings), total=len(recordings), desc=role)
            return np.array(list(bar))

    def is_accepted(self, embedding: np.ndarray, victim: int) -> tuple[bool, float]:
        """What the server says of an embedding: whether it is the victim, and the score."""
        reply = requests.post(
            f"{self._url}/v1/verify",
            json={"speaker_id": _id(victim), "embedding": embedding.tolist(), "speech_s": 8.0},
            headers=self._headers["admin"],
            timeout=TIMEOUT_S,
        )
        reply.raise_for_status()
        return reply.json()["outcome"] == "accepted", reply.json()["score"]

    def climb(self, start: np.ndarray, victim: int) -> int | None:
        """Questions until a changed embedding is accepted; None: not within `MOST_STEPS`."""
        random = np.random.default_rng(victim)
        best, best_score = start, -2.0
        for number in range(MOST_STEPS):
            step = random.standard_normal(EMBEDDING_SIZE)
            length = CHANGES[number % len(CHANGES)] if number else 0.0
            tried = best + length * step / np.linalg.norm(step)
            tried /= np.linalg.norm(tried)
            accepted, score = self.is_accepted(tried, victim)
            if accepted:
                return number + 1
            if score >= best_score:
                best, best_score = tried, score
        return None

    def _post(self, what: str, role: Role, audio: bytes, **fields: str) -> requests.Response:
        return requests.post(
            f"{self._url}/v1/{what}",
            data=fields,
            files={"audio": audio},
            headers=self._headers[role],
            timeout=TIMEOUT_S,
        )


def _look(
    thief: _Thief, embeddings: np.ndarray, scores: np.ndarray, truth: np.ndarray
) -> dict[str, Any]:
    """How near the solution of these equations is to each victim."""
    found = np.array([_solve(embeddings, own) for own in scores.T])  # (victims, 64)
    accepted = [
        thief.is_accepted(one, victim)[0] for one, victim in zip(found, VICTIMS, strict=True)
    ]
    return {
        "questions": len(embeddings),
        "cosine": round(float(np.median((found * truth).sum(axis=1))), 3),
        "accepted": sum(accepted),
    }


def _solve(embeddings: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The direction that gives these scores, by least squares with a little shrinkage.

    What is at the floor says only that it is not more, and is left out unless all are.
    """
    told = scores > FLOORS["score"] + 1e-9 if scores.min() == FLOORS["score"] else scores > -2.0
    rows, values = (embeddings[told], scores[told]) if told.any() else (embeddings, scores)
    shrinkage = 1e-3 * max(len(rows), 1) / EMBEDDING_SIZE * np.eye(EMBEDDING_SIZE)
    found: np.ndarray = np.linalg.solve(rows.T @ rows + shrinkage, rows.T @ values)
    unit: np.ndarray = found / np.linalg.norm(found)
    return unit


def _bent_recordings(count: int) -> tuple[list[bytes], np.ndarray]:
    """Recordings of the others, bent in many ways, and float64 (count, 64) what they become."""
    ear, random = open_ear(), np.random.default_rng(1)
    waves = [decode(path) for one in OTHERS for path in sorted(DATA.glob(f"ast{one}@*.mp4"))]
    recordings: list[bytes] = []
    embeddings: list[np.ndarray] = []
    with tqdm(total=count, desc="bending", unit="recording") as bar:
        while len(recordings) < count:
            data = _as_wav(_bent(waves, random))
            heard = _heard(ear, data)
            if heard is not None:
                recordings.append(data)
                embeddings.append(heard)
                bar.update()
    return recordings, np.array(embeddings, np.float64)


def _bent(waves: Sequence[np.ndarray], random: np.random.Generator) -> np.ndarray:
    wave = waves[int(random.integers(len(waves)))]
    if random.random() < 0.5:
        other = waves[int(random.integers(len(waves)))]
        size = min(wave.size, other.size)
        wave = wave[:size] + np.float32(random.uniform(0.2, 1.0)) * other[:size]
    speed = random.uniform(0.65, 1.5)
    places = np.arange(0, wave.size - 1, speed)
    wave = np.interp(places, np.arange(wave.size), wave)
    spectrum = np.fft.rfft(wave)
    knots = random.uniform(-18.0, 6.0, 12)  # dB, an equaliser pulled at random
    gains = np.interp(np.linspace(0, 1, spectrum.size), np.linspace(0, 1, knots.size), knots)
    wave = np.fft.irfft(spectrum * 10.0 ** (gains / 20.0), wave.size)
    wave += random.uniform(0.0, 0.1) * wave.std() * random.standard_normal(wave.size)
    bent: np.ndarray = (0.5 * wave / np.abs(wave).max()).astype(np.float32)
    return bent[: 5 * SAMPLE_RATE]


def _as_wav(wave: np.ndarray) -> bytes:
    target = io.BytesIO()
    with riff.open(target, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((wave * 32_767).astype("<i2").tobytes())
    return target.getvalue()


def _heard(ear: Ear, data: bytes) -> np.ndarray | None:
    """His own embedding of what he sends; None where the server would refuse it."""
    try:
        embeddings, speech_s = ear.embeddings(data)
    except BadAudio:
        return None
    if speech_s < Settings.min_speech_s:
        return None
    mean = embeddings.mean(axis=0)
    unit: np.ndarray = mean / np.linalg.norm(mean)
    return unit


def _id(speaker: int) -> str:
    return f"ast{speaker}@example.org"


def table(document: Mapping[str, Any]) -> str:
    """The figures as tables in Markdown."""
    rate, victims = document["rate"], document["victims"]
    lines = [
        f"| questions | at {rate} a minute | exact scores: cosine to the voice, median (accepted "
        f"of {victims}) | coarse scores |",
        "|---|---|---|---|",
    ]
    for exact, coarse in zip(*document["solved"].values(), strict=True):
        shown = [f"{one['cosine']:.2f} ({one['accepted']})" for one in (exact, coarse)]
        count = exact["questions"]
        lines.append(f"| {count:,} | {count / rate:.1f} min | {shown[0]} | {shown[1]} |")
    climbed = document["climbed"]
    median = np.median(climbed["questions"]) if climbed["questions"] else climbed["most"]
    lines += [
        "",
        f"Hill climbing with embeddings and exact scores: {climbed['reached']} of {victims} "
        f"accepted, after {median:,.0f} questions (median).",
    ]
    return "\n".join(lines)
