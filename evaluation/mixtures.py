"""Conversations made of the dev recordings: two to four speakers who take turns, one at a time.

Nobody speaks over anybody, and a turn is cut out of one recording wherever its time is up. The
reference says where somebody speaks by the server's own detector, heard on the recording before
it was cut: an error of the detector itself is therefore no error here; what a cut, a short turn
or the neighbours change about it is.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio
from evaluation.diarisation import Span
from evaluation.files import read_text
from utils.quality import find_speech
from utils.speech import CHUNK, SAMPLE_RATE, Mask, SpeechDetector

Wave = npt.NDArray[np.float32]
Part = Literal["choose", "report"]

SEED = 2026
PARTS: tuple[Part, ...] = ("choose", "report")
MIXTURES = 80  # of a part
# Speakers of one mixture are of one source: of two they could be told apart by their microphones.
SOURCES = (("ls_halves", "ls_testother"), ("cv_cross",), ("zh_cross",), ("so_cross",))
SPEAKERS = (2, 4)
TURNS = (2, 4)  # of a speaker, where the recordings are long enough
TURN_S = (1.0, 6.0)
GAP_S = (0.0, 0.6)
EDGE_S = 0.4  # of silence before the first turn and after the last
LEAST_ENROLLED_S = 3.0  # a recording of less is refused as an enrolment
PAUSE_S = 0.3  # a shorter pause is part of a turn (NIST, Rich Transcription 2003)
LEVEL_DBFS = -26.0  # of speech, plus or minus:
LEVEL_SPREAD_DB = 4.0
NOISE_DB = 40.0  # below LEVEL_DBFS: no recording has gaps of digital silence
FADE_S = 0.01  # at both ends of a turn, so that no click tells where it was cut


@dataclass(frozen=True)
class Cut:
    """A turn: where it is cut out of which recording, and the silence after it."""

    file: str
    speaker: str
    first: int  # samples of the recording
    last: int
    gap_s: float


@dataclass(frozen=True)
class Mixture:
    """A conversation that is not yet heard."""

    name: str
    source: str
    cuts: tuple[Cut, ...]
    gain_db: dict[str, float]  # of each speaker
    seed: int


class Corpus:
    """One part of the dev speakers: who is enrolled with which recording, and what is left."""

    def __init__(self, speech: Path, part: Part) -> None:
        """Reads the manifest; no speaker is in both parts.

        Raises:
            SystemExit: the dev recordings are not there.
        """
        lines = csv.DictReader(read_text(speech / "dev.tsv").splitlines(), delimiter="\t")
        recordings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        seconds: dict[str, float] = {}
        for line in lines:
            source = next(each for each in SOURCES if line["source"] in each)
            recordings[source[0]][line["speaker"]].append(line["file"])
            seconds[line["file"]] = float(line["seconds"])
        self._audio, self._detector = Audio(speech), SpeechDetector()
        self.mask = lru_cache(maxsize=None)(self._mask)
        self.enrolled: dict[str, str] = {}  # file by speaker
        self.spoken: dict[str, dict[str, list[str]]] = {}  # files by source and speaker
        for source_name, speakers in recordings.items():
            names = np.array(sorted(speakers))
            np.random.default_rng(SEED).shuffle(names)
            names = names[PARTS.index(part) :: len(PARTS)]
            self.spoken[source_name] = {each: list(speakers[each]) for each in names.tolist()}
            self._enrol(self.spoken[source_name], seconds)

    def _enrol(self, speakers: dict[str, list[str]], seconds: dict[str, float]) -> None:
        """Half of the speakers, each with the longest recording, which then is spoken no more."""
        able = [name for name, files in speakers.items() if len(files) > 1]
        for name in able[: len(speakers) // 2]:
            longest = max(speakers[name], key=lambda file: (seconds[file], file))
            if np.count_nonzero(self.mask(longest)) * CHUNK >= LEAST_ENROLLED_S * SAMPLE_RATE:
                self.enrolled[name] = longest
                speakers[name].remove(longest)

    def wave(self, file: str) -> Wave:
        return self._audio.read(file)

    def _mask(self, file: str) -> Mask:
        return find_speech(self.wave(file), self._detector)

    def mixtures(self, count: int = MIXTURES) -> Iterator[Mixture]:
        """So many conversations, of every source in turn; the same ones at every call."""
        sources = list(self.spoken)
        for number in range(count):
            rng = np.random.default_rng((SEED, number))
            source = sources[number % len(sources)]
            speakers = self._company(source, rng)
            turns = [self._cuts(name, self.spoken[source][name], rng) for name in speakers]
            gains = rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB, len(speakers))
            yield Mixture(
                f"{source}-{number:03d}",
                source,
                tuple(_in_turn([each for each in turns if each], rng)),
                dict(zip(speakers, gains.tolist(), strict=True)),
                number,
            )

    def _company(self, source: str, rng: np.random.Generator) -> list[str]:
        """Who talks: each is with equal chance one of the enrolled or one of the others."""
        groups: list[list[str]] = [[], []]
        for name in self.spoken[source]:
            groups[name in self.enrolled].append(name)
        count = int(rng.integers(SPEAKERS[0], SPEAKERS[1] + 1))
        known = int(rng.binomial(count, 0.5))
        chosen = [*rng.choice(groups[1], known, replace=False),
                  *rng.choice(groups[0], count - known, replace=False)]  # fmt: skip
        return [str(name) for name in chosen]

    def _cuts(self, speaker: str, files: Sequence[str], rng: np.random.Generator) -> list[Cut]:
        """A speaker's turns, from the beginning of each recording's speech on."""
        wanted = int(rng.integers(TURNS[0], TURNS[1] + 1))
        cuts: list[Cut] = []
        for file in rng.permutation(list(files)).tolist():
            heard = np.flatnonzero(self.mask(file))
            if heard.size == 0:
                continue
            first, end = int(heard[0]) * CHUNK, (int(heard[-1]) + 1) * CHUNK
            end = min(end, self.wave(file).size)
            while len(cuts) < wanted and end - first >= TURN_S[0] * SAMPLE_RATE:
                last = min(end, first + round(float(rng.uniform(*TURN_S)) * SAMPLE_RATE))
                cuts.append(Cut(file, speaker, first, last, float(rng.uniform(*GAP_S))))
                first = last
        return cuts

    def render(self, mixture: Mixture) -> tuple[Wave, list[Span]]:
        """(samples,) at 16 kHz, and who speaks when in it."""
        rng = np.random.default_rng((SEED, 1, mixture.seed))
        pieces: list[Wave] = [np.zeros(round(EDGE_S * SAMPLE_RATE), np.float32)]
        reference: list[Span] = []
        at = pieces[0].size
        for cut in mixture.cuts:
            turn = self._turn(cut, mixture.gain_db[cut.speaker])
            for first, last in self._stretches(cut):
                start_s, end_s = (at + first) / SAMPLE_RATE, (at + last) / SAMPLE_RATE
                reference.append(Span(start_s, end_s, cut.speaker, cut.speaker in self.enrolled))
            gap = np.zeros(round(cut.gap_s * SAMPLE_RATE), np.float32)
            pieces += [turn, gap]
            at += turn.size + gap.size
        wave = np.concatenate([*pieces, pieces[0]])
        noise = _amplitude(LEVEL_DBFS - NOISE_DB) * rng.standard_normal(wave.size)
        return np.clip(wave + noise, -1.0, 1.0).astype(np.float32), reference

    def _turn(self, cut: Cut, gain_db: float) -> Wave:
        wave, mask = self.wave(cut.file), self.mask(cut.file)
        speech = np.repeat(mask, CHUNK)[: wave.size]
        level = float(np.sqrt(np.mean(np.square(wave[speech], dtype=np.float64))))
        turn = wave[cut.first : cut.last] * (_amplitude(LEVEL_DBFS + gain_db) / max(level, 1e-6))
        fade = np.linspace(0.0, 1.0, round(FADE_S * SAMPLE_RATE))
        turn[: fade.size] *= fade
        turn[-fade.size :] *= fade[::-1]
        return turn.astype(np.float32)

    def _stretches(self, cut: Cut) -> list[tuple[int, int]]:
        """Speech in a turn, in samples from its beginning; short pauses are filled."""
        samples = np.repeat(self.mask(cut.file), CHUNK)[cut.first : cut.last]
        edges = np.flatnonzero(np.diff(samples, prepend=False, append=False)).reshape(-1, 2)
        stretches: list[tuple[int, int]] = []
        for first, last in edges.tolist():
            if stretches and first - stretches[-1][1] < PAUSE_S * SAMPLE_RATE:
                stretches[-1] = (stretches[-1][0], last)
            else:
                stretches.append((first, last))
        return stretches


def _in_turn(turns: Sequence[list[Cut]], rng: np.random.Generator) -> list[Cut]:
    """Everybody's turns in a random order, in which nobody follows themselves if that can be."""
    waiting = [list(each) for each in turns]
    order: list[Cut] = []
    while any(waiting):
        most = max(map(len, waiting))
        able = [each for each in waiting if each]
        others = [each for each in able if not order or each[0].speaker != order[-1].speaker]
        # who has most left must not be left to speak alone in the end
        longest = [each for each in others if len(each) == most]
        pool = longest or others or able
        order.append(pool[int(rng.integers(len(pool)))].pop(0))
    return order


def _amplitude(decibel: float) -> float:
    return float(10.0 ** (decibel / 20.0))
