"""How well turns are found and named, on conversations made of the dev recordings.

Ours beside the plain way: every 2 s of the recording on their own against the gallery, the
nearest speaker where that is accepted and one label for all others. The settings of
`utils.segments` were chosen on the part `choose`; the part `report` has other speakers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.bootstrap import draw, interval
from evaluation.diarisation import COLLAR_S, Errors, Span, count_errors
from evaluation.files import fill_marked, write_json
from evaluation.heard import listen
from evaluation.mixtures import MIXTURES, SEED, Corpus, Part, Wave
from utils.calibration import Calibration, load_calibration
from utils.embedding import BEST_MODEL, Engine, load_engine
from utils.features import log_mel_windows
from utils.gallery import Snapshot
from utils.quality import MIN_WINDOW_SPEECH_S, find_speech
from utils.segments import UNKNOWN, SegmentSettings, Turn, find_turns, judge
from utils.speech import CHUNK, CHUNK_S, SAMPLE_RATE, SpeechDetector, speech_seconds

REPORT = Path(__file__).parent / "segments.json"
DOCS = Path(__file__).parent.parent / "docs" / "evaluation.md"
MARK = "segments"  # of where the page has its table
BOOTSTRAP = 1_000
MAX_FPIR = 0.01  # as the server's policy has it
TITLES = {"ours": "turns", "windows": "every 2 s on their own"}
FIGURES = {
    "identification_error": "identification error",
    "miss": "missed",
    "false_alarm": "false alarm",
    "confusion_enrolled": "enrolled, not named",
    "confusion_unknown": "unknown, confused",
    "der": "DER",
}


@dataclass(frozen=True)
class Server:
    """What answers, with one gallery for all conversations."""

    engine: Engine
    detector: SpeechDetector
    calibration: Calibration
    gallery: Snapshot
    level: float


def run(
    speech: Path, part: Part, count: int = MIXTURES, json: Path | None = None, write: bool = False
) -> int:
    """`python -m evaluation segments`.

    Raises:
        SystemExit: the dev recordings are not there.
    """
    corpus = Corpus(speech, part)
    server = make_server(corpus)
    rows: dict[str, list[Errors]] = {name: [] for name in TITLES}
    whole: dict[str, list[Errors]] = {name: [] for name in TITLES}
    audio_s = taken_s = 0.0
    mixtures = list(corpus.mixtures(count))
    for mixture in tqdm(mixtures, part, unit="mixture", leave=False):
        wave, reference = corpus.render(mixture)
        started = time.perf_counter()
        turns = turns_of(wave, server)
        taken_s += time.perf_counter() - started
        audio_s += wave.size / SAMPLE_RATE
        answers = {"ours": spans(turns), "windows": list(by_windows(wave, server))}
        for name, answer in answers.items():
            rows[name].append(count_errors(reference, answer))
            whole[name].append(count_errors(reference, answer, collar_s=0.0))
    document = {
        "model_id": server.engine.model_id,
        "command": f"python -m evaluation segments --part {part} --mixtures {count}",
        "part": part,
        "mixtures": count,
        "speakers": len({cut.speaker for mixture in mixtures for cut in mixture.cuts}),
        "enrolled": server.gallery.count,
        "max_fpir": MAX_FPIR,
        "collar_s": COLLAR_S,
        "audio_s": round(audio_s, 1),
        "seconds_a_minute": round(60.0 * taken_s / audio_s, 2),
        "settings": asdict(SegmentSettings()),
        "figures": {name: figures(errors) for name, errors in rows.items()},
        "figures_no_collar": {name: figures(errors) for name, errors in whole.items()},
    }
    print(table(document))
    for path in ([json] if json else []) + ([REPORT] if write else []):
        write_json(path, document)
    if write:
        fill_marked(DOCS, MARK, markdown(document))
    return 0


def make_server(corpus: Corpus) -> Server:
    """Enrols the part's speakers as the server would."""
    engine, detector = load_engine("onnx"), SpeechDetector()
    calibration = load_calibration(BEST_MODEL, engine.model_id)
    heard = {
        speaker: listen(corpus.wave(file), engine, detector)
        for speaker, file in tqdm(corpus.enrolled.items(), "enrol", unit="speaker", leave=False)
    }
    gallery = Snapshot.empty().changed(set(), {each: row for each, row in heard.items() if row})
    return Server(engine, detector, calibration, gallery, calibration.level(gallery.centroids))


def turns_of(wave: Wave, server: Server) -> list[Turn]:
    return find_turns(
        wave, server.engine, server.detector, server.calibration, server.gallery,
        level=server.level, max_fpir=MAX_FPIR,
    )  # fmt: skip


def spans(turns: list[Turn]) -> list[Span]:
    return [
        Span(turn.start_s, turn.end_s, turn.speaker, turn.speaker_id is not None) for turn in turns
    ]


def by_windows(wave: Wave, server: Server) -> Iterator[Span]:
    """The plain way: what is speech in 2 s is all of whom these 2 s are."""
    size = server.engine.features.window_samples // CHUNK  # chunks
    mask = find_speech(wave, server.detector)
    for first in range(0, mask.size, size):
        inside = mask[first : first + size]
        if speech_seconds(inside) < MIN_WINDOW_SPEECH_S:
            continue
        window = wave[first * CHUNK : (first + size) * CHUNK]
        probe = server.engine.embed(log_mel_windows(window, server.engine.features))[0]
        speaker_id, _ = judge(
            probe, speech_seconds(inside), server.calibration, server.gallery,
            level=server.level, max_fpir=MAX_FPIR,
        )  # fmt: skip
        edges = np.flatnonzero(np.diff(inside, prepend=False, append=False)).reshape(-1, 2)
        for start, end in ((first + edges) * CHUNK_S).tolist():
            end_s = min(end, wave.size / SAMPLE_RATE)
            yield Span(start, end_s, speaker_id or UNKNOWN, speaker_id is not None)


def figures(errors: list[Errors]) -> dict[str, dict[str, Any]]:
    """Shares of all reference speech, with 95 % intervals over the conversations."""
    rows = np.array([each.row() for each in errors])  # (mixtures, kinds of seconds)
    drawn = [Errors(*row).shares() for row in _drawn(rows)]
    return {
        name: {"share": share, "interval": interval(each[name] for each in drawn)}
        for name, share in sum(errors[1:], errors[0]).shares().items()
    }


def _drawn(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums when as many conversations are drawn again with replacement."""
    sums: npt.NDArray[np.float64] = draw(len(rows), BOOTSTRAP, np.random.default_rng(SEED)) @ rows
    return sums


def table(document: dict[str, Any]) -> str:
    """Lines of text, in percent."""
    lines = [
        f"{document['mixtures']} conversations, {document['audio_s'] / 60:.1f} min, "
        f"{document['speakers']} speakers, {document['enrolled']} enrolled; part "
        f"{document['part']}; a minute takes {document['seconds_a_minute']:.1f} s",
        f"{'% of speech':22}" + "".join(f"{title:>26}" for title in TITLES.values()),
    ]
    for collar, title in (("figures", f"collar {COLLAR_S} s"), ("figures_no_collar", "no collar")):
        lines.append(f"{title}:")
        for name, cells in _rows(document[collar]):
            lines.append(f"{name:22}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def markdown(document: dict[str, Any]) -> str:
    """The page's table."""
    lines = [
        f"{document['mixtures']} conversations, {document['audio_s'] / 60:.0f} minutes in all, "
        f"{document['speakers']} speakers of whom {document['enrolled']} are enrolled, network "
        f"`{document['model_id']}`, `--max-fpir {document['max_fpir']}`; {document['collar_s']} s "
        "around each change are not judged; 95 % intervals over the conversations. "
        f"A minute took {document['seconds_a_minute']:.1f} s on one core.",
        "",
        f"| % of speech | {' | '.join(TITLES.values())} |",
        f"|{'---|' * (1 + len(TITLES))}",
    ]
    for name, cells in _rows(document["figures"]):
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A figure's name, and its cell of each way."""
    for figure, name in FIGURES.items():
        yield name, [_cell(found[way][figure]) for way in TITLES]


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{100 * figure['share']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
