"""The state of a gallery: who is enrolled how well, and who may be taken for whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.files import write_json
from utils.calibration import Calibration, load_calibration
from utils.embedding import BEST_MODEL, ModelFiles
from utils.gallery import Gallery
from utils.lookalikes import Pair, nearest_pairs
from utils.place import DEFAULT, find_place
from utils.quality import QualityRules, two_voices
from utils.scoring import centroid
from utils.sealing import find_seal

MOST_PAIRS = 1_000  # that are looked for; a gallery with more duplicates needs no list but a rule


def run(where: str, key_file: Path | None, shown: int, json_path: Path | None) -> int:
    """`python -m evaluation gallery`: prints what an operator should look at.

    Raises:
        SystemExit: there is no gallery in the folder.
    """
    model_id = ModelFiles(BEST_MODEL).model_id
    with find_place(where, find_seal(key_file)) as place:
        if not place.exists():
            raise SystemExit(f"{place.shown}: there is no gallery; give a server's --gallery")
        with place.open_gallery(DEFAULT, model_id) as gallery:
            found = health(gallery, load_calibration(BEST_MODEL, model_id))
    for line in lines(found, shown):
        print(line)
    if json_path:
        write_json(json_path, found)
    return 0


def health(gallery: Gallery, calibration: Calibration) -> dict[str, Any]:
    """What `run` prints, as names and numbers; of pairs the nearest `MOST_PAIRS`."""
    now = gallery.snapshot()
    least_s = QualityRules.min_enrol_s
    unlike, of_two, recordings, speech_s = [], [], 0, 0.0
    for speaker_id in sorted(now.ids[: now.count]):
        files = gallery.embeddings(speaker_id)
        recordings += len(files)
        speech_s += now.enrolled_s(speaker_id) or 0.0
        of_two += [name for name, rows in files.items() if two_voices(rows)]
        if len(files) > 1:
            centroids = np.stack([centroid(rows) for rows in files.values()])
            cosine = float((centroids @ centroids.T).min())
            if _llr(calibration, centroids) < 0.0:
                unlike.append({"speaker_id": speaker_id, "cosine": round(cosine, 3)})
    pairs = nearest_pairs(now, calibration, MOST_PAIRS)
    return {
        "speakers": now.count,
        "recordings": recordings,
        "speech_s": round(speech_s, 1),
        "look_alikes": [_as_json(each) for each in pairs],
        "likely_duplicates": [_as_json(each) for each in pairs if each.is_likely_duplicate],
        "recordings_unlike_each_other": unlike,
        "two_voices": of_two,
        "little_speech": [
            {"speaker_id": one, "speech_s": round(seconds, 2)}
            for one, seconds in zip(now.ids, now.seconds[: now.count], strict=False)
            if seconds is not None and seconds < least_s
        ],
        "unknown_speech": now.seconds[: now.count].count(None),
        "files_that_take_no_part": [
            {"file": each.file_name, "why": each.reason} for each in gallery.skipped
        ],
    }


def _as_json(pair: Pair) -> dict[str, Any]:
    return {
        "speaker_ids": list(pair.speaker_ids),
        "cosine": round(pair.cosine, 3),
        "chance": float(f"{pair.chance:.3g}"),
    }


def _llr(calibration: Calibration, centroids: np.ndarray) -> float:
    """The least likelihood ratio between recordings of one speaker."""
    scores = calibration.compare(centroids)
    seconds = np.full(scores.shape, QualityRules.min_enrol_s)
    return float(calibration.llr(scores, seconds, seconds).min())


def lines(found: dict[str, Any], shown: int) -> Iterator[str]:
    """The report as text, at most so many lines of each kind."""
    yield (
        f"{found['speakers']} speakers, {found['recordings']} recordings, "
        f"{found['speech_s']:.0f} s of speech"
    )
    tables = {
        "likely duplicates: one person under two IDs?": [
            f"{each['cosine']:.3f}  {'  '.join(each['speaker_ids'])}"
            for each in found["likely_duplicates"]
        ],
        "look-alikes: cosine, share of strangers who come as near to anybody here": [
            f"{each['cosine']:.3f}  {each['chance']:8.2g}  {'  '.join(each['speaker_ids'])}"
            for each in found["look_alikes"][:shown]  # they go on without end
        ],
        "recordings of one ID that are more likely of two people": [
            f"{each['cosine']:.3f}  {each['speaker_id']}"
            for each in found["recordings_unlike_each_other"]
        ],
        "two voices in one recording": found["two_voices"],
        f"less than {QualityRules.min_enrol_s:.0f} s of speech": [
            f"{each['speech_s']:5.2f}  {each['speaker_id']}" for each in found["little_speech"]
        ],
        "files that take no part": [
            f"{each['file']}: {each['why']}" for each in found["files_that_take_no_part"]
        ],
    }
    for title, rows in tables.items():
        yield f"\n{title}: {len(rows) or 'none'}"
        yield from (f"  {row}" for row in rows[:shown])
        if len(rows) > shown:
            yield f"  ... and {len(rows) - shown} more: --shown or --json"
    if found["unknown_speech"]:
        yield f"\n{found['unknown_speech']} speakers were copied in: nobody counted their speech"
