"""The demonstration: a real server over an empty gallery, the sample set sent to it over HTTP."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tqdm import tqdm

from evaluation.pictures import draw_confusion
from evaluation.samples import (
    PASS_MARK,
    Outcome,
    ask_all,
    confusion_table,
    sample_clips,
    tally,
    verdict,
)
from evaluation.server import running_server
from Request import SpeakerClient


def run(picture: Path) -> int:
    """`python -m evaluation demo`, which `make demo` calls."""
    clips = sample_clips()
    with tempfile.TemporaryDirectory() as gallery, running_server(Path(gallery)) as server:
        print(f"server on {server.url}, gallery empty; sending {len(clips)} clips from data/")
        with SpeakerClient(server.url) as client, tqdm(total=len(clips), unit="clip") as bar:
            outcomes = []
            for outcome in ask_all(clips, client.identify):
                outcomes.append(outcome)
                with bar.external_write_mode():
                    print(_line(outcome), flush=True)
                bar.update()
    result = tally(outcomes)
    draw_confusion(result["confusion"], verdict(result), picture)
    print(f"\n{confusion_table(result['confusion'])}\n\nthe table as a picture: {picture}")
    print(verdict(result))
    return 0 if result["identified"] >= PASS_MARK else 1


def _line(outcome: Outcome) -> str:
    answer = outcome.answer
    reply = json.dumps({"100001": answer["100001"]}, ensure_ascii=False)
    return (
        f"{' ' if outcome.correct else 'x'} POST {outcome.clip.name}  {reply}  "
        f"{answer['decision']:10}  score {answer['score']:6.3f}  "
        f"{answer['timings_ms']['total']:6.1f} ms"
    )
