"""Fits the calibration of the network that is served, and says how good it is.

What is reported of a speaker is of parameters that were fitted without them: the dev speakers are
cut into two halves, each judged by what the other half gave. What is written into
`best_model/calibration.json` is fitted on all of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.embeddings import CACHE
from evaluation.files import fill_marked, write_json
from evaluation.heard import ENROLLED, PROBES, Scored, read_dev
from evaluation.llr import fit_llr, llr_quality, make_trials
from evaluation.strangers import (
    PRIOR_SPEAKERS,
    QUANTILE,
    fit_strangers,
    fpir_table,
    make_searches,
)
from utils.calibration import COHORT, FILE, Calibration, StrangerModel
from utils.embedding import BEST_MODEL, load_engine

NEAREST = 400  # of the cohort; 50 to 400 differ little on the dev lists, all of them loses a tenth
REPORT = "decisions.json"
ASKING = {"whole": "whole recordings", "3s": "the middle 3 s",
          "2s_5db": "the middle 2 s, babble and pink noise at 5 dB"}  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs" / "decisions.md"
MARK = "decisions"  # of where the page has its tables


def run(speech: Path, cache: Path = CACHE, folder: Path = BEST_MODEL) -> int:
    """`python -m evaluation calibrate`: writes the calibration, and the figures of the docs."""
    engine = load_engine("onnx", folder=folder)
    content = (folder / COHORT).read_bytes()
    cohort = np.load(folder / COHORT).astype(np.float32)
    blank = StrangerModel((0.0, 1.0, 0.0), 1.0, QUANTILE, 0.0, 0.0, PRIOR_SPEAKERS)
    shell = Calibration(engine.model_id, cohort, NEAREST, (0, 0, 0, 0), (0, 0), blank)
    dev = read_dev(speech, cache)
    scored = Scored(dev, shell)
    trials = make_trials(scored)
    searches = {name: make_searches(scored, name) for name in ("whole", "3s", "2s_5db")}
    quality = llr_quality(trials)
    table = {name: fpir_table(each, dev) for name, each in searches.items()}
    shorts = np.concatenate([each.short[each.is_target] for each in trials])
    scores = np.concatenate([each.score[each.is_target] for each in trials])
    slope, offset = np.polyfit(shorts, scores, 1)
    document = {
        "model_id": engine.model_id,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "cohort": {
            "name": COHORT,
            "sha256": hashlib.sha256(content).hexdigest(),
            "speakers": len(cohort),
            "nearest": NEAREST,
        },
        "llr_line": fit_llr(trials),
        "target_line": (float(offset), float(slope)),
        "strangers": asdict(fit_strangers(searches["whole"], dev)),
        "provenance": {
            "command": "python -m evaluation calibrate",
            "recordings": len(dev.names),
            "speakers": int(dev.speaker.max()) + 1,
            "sets": sorted(set(dev.source.tolist())),
            "enrolled": [each.name for each in ENROLLED],
            "probes": [each.name for each in PROBES],
        },
    }
    (folder / FILE).write_text(json.dumps(document, indent=2) + "\n")
    report = {"model_id": engine.model_id, "llr": quality, "fpir": table}
    write_json(Path(__file__).parent / REPORT, report)
    fill_marked(DOCS, MARK, tables(report))
    print(tables(report))
    return 0


def tables(report: dict[str, Any]) -> str:
    """What `docs/decisions.md` shows of `evaluation/decisions.json`, in Markdown."""
    llr = report["llr"]
    lines = [
        f"Network `{report['model_id']}`, {llr['targets']:,} target and {llr['impostors']:,} "
        "impostor trials.",
        "",
        "| cost | actual | minimum | actual / minimum |",
        "|---|---|---|---|",
    ]
    for title, actual, least in (
        ("Cllr", "cllr", "min_cllr"),
        ("DCF(0.01)", "act_dcf_p01", "min_dcf_p01"),
        ("DCF(0.05)", "act_dcf_p05", "min_dcf_p05"),
    ):
        ratio = llr[actual] / llr[least]
        lines.append(f"| {title} | {llr[actual]:.3f} | {llr[least]:.3f} | {ratio:.2f} |")
    for condition, rows in report["fpir"].items():
        asked = [each["fpir"] for each in rows[0]["asked"]]
        titles = [f"FPIR at {100 * each:g} %" for each in asked] + [
            f"FNIR at {100 * each:g} %" for each in asked
        ]
        fixed = rows[0]["fixed"]["cosine"]
        titles += [f"FPIR at cosine {fixed:.2f}", "FNIR there"]
        lines += [
            "",
            f"Asking with {ASKING[condition]}; in percent:",
            "",
            f"| gallery from | speakers | searches by strangers | {' | '.join(titles)} |",
            f"|---|---|---|{'---|' * len(titles)}",
        ]
        lines += [_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    cells = [f"`{row['set']}`" if row["set"] != "mixed" else "all sets", str(row["speakers"]),
             f"{row['searches']:,} by {row['strangers']}"]  # fmt: skip
    for each in row["asked"]:
        low, high = each["interval"]
        cells.append(f"{100 * each['obtained']:.2f} ({100 * low:.2f} to {100 * high:.2f})")
    cells += [_percent(each["fnir"]) for each in row["asked"]]
    cells += [_percent(row["fixed"]["obtained"]), _percent(row["fixed"]["fnir"])]
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return "none asked" if share is None else f"{100 * share:.0f}"
