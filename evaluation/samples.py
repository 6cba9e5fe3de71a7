"""The sample set as a test: enrol one clip a speaker, identify the rest, count."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.files import write_json
from evaluation.metrics import wilson_interval
from utils.calibration import load_calibration
from utils.embedding import BEST_MODEL, Engine, load_engine
from utils.gallery import FolderGallery
from utils.identification import Identifier
from utils.speaker_id import parse_recording_name
from utils.speech import SpeechDetector

DATA = Path(__file__).parent.parent / "data"
PASS_MARK = 62  # of 63

Ask = Callable[[Path], dict[str, Any]]
"""Sends one clip and gives the answer's speaker_id, decision, score and timings_ms."""


@dataclass(frozen=True)
class Outcome:
    """One clip and what was answered."""

    clip: Path
    expected: str
    answer: dict[str, Any]

    @property
    def enrolled(self) -> bool:
        return bool(self.answer["decision"] == "registered")

    @property
    def correct(self) -> bool:
        return bool(self.answer["speaker_id"] == self.expected)


def sample_clips(folder: Path = DATA) -> list[Path]:
    """The clips, each speaker's number 0 first of all: those enrol, the others ask."""
    names = {clip: parse_recording_name(clip.name) for clip in folder.glob("*.mp4")}
    return sorted(names, key=lambda clip: (names[clip].number != "0", clip.name))


def ask_all(clips: Sequence[Path], ask: Ask) -> Iterator[Outcome]:
    for clip in clips:
        yield Outcome(clip, parse_recording_name(clip.name).speaker_id, ask(clip))


def tally(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts the clips that asked.

    Returns:
        probes, identified, their share with its 95 % interval, and confusion: for each true
        speaker, how often each speaker was answered.
    """
    probes = [outcome for outcome in outcomes if not outcome.enrolled]
    identified = sum(outcome.correct for outcome in probes)
    speakers = sorted({outcome.expected for outcome in outcomes})
    confusion = {speaker: dict.fromkeys(speakers, 0) for speaker in speakers}
    for outcome in probes:
        confusion[outcome.expected][outcome.answer["speaker_id"]] += 1
    return {
        "probes": len(probes),
        "identified": identified,
        "share": identified / len(probes),
        "interval": wilson_interval(identified, len(probes)),
        "confusion": confusion,
    }


def confusion_table(confusion: dict[str, dict[str, int]]) -> str:
    """Lines of text: a row a true speaker, a column an answer."""
    speakers = list(confusion)
    width = max(map(len, speakers))
    short = [speaker.partition("@")[0] for speaker in speakers]
    lines = [f"{'true speaker':{width}}  " + " ".join(f"{name:>6}" for name in short)]
    for speaker, row in confusion.items():
        lines.append(f"{speaker:{width}}  " + " ".join(f"{row[each]:>6}" for each in speakers))
    return "\n".join(lines)


def verdict(result: dict[str, Any]) -> str:
    return f"identified {result['identified']} of {result['probes']}"


def run_samples(engine: Engine) -> dict[str, Any]:
    """`tally` of the sample set over an empty gallery, without server or HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = FolderGallery(Path(folder), engine.model_id)
        calibration = load_calibration(BEST_MODEL, engine.model_id)
        identifier = Identifier(engine, gallery, SpeechDetector(), calibration)

        def ask(clip: Path) -> dict[str, Any]:
            answer = identifier.answer(clip, parse_recording_name(clip.name))
            return {"speaker_id": answer.speaker_id, "decision": answer.decision}

        result = tally(list(ask_all(sample_clips(), ask)))
        gallery.close()
    return result


def run(json_path: Path | None) -> int:
    """`python -m evaluation samples`: the demo's figures on their own."""
    engine = load_engine("onnx")
    result = run_samples(engine)
    print(confusion_table(result["confusion"]))
    low, high = result["interval"]
    print(f"{100 * result['share']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)")
    print(verdict(result))
    if json_path:
        write_json(json_path, {"model_id": engine.model_id, **result})
    return 0 if result["identified"] >= PASS_MARK else 1
