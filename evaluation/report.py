"""The accuracy figures of the docs: every dev list, whole and cropped, and the sample set.

Writes `evaluation/report.json`, keyed system -> list -> condition, and the tables that stand
between `<!-- accuracy -->` marks in the README files and the model card.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.samples import run_samples
from evaluation.trials import Audio, evaluate_list
from utils.embedding import load_engine

ROOT = Path(__file__).parent.parent
REPORT = Path(__file__).parent / "report.json"
SHOWN_IN = ("README.md", "README.ko.md", "best_model/MODEL_CARD.md")
CONDITIONS = {"whole": None, "2s": 2.0}  # name -> seconds of the middle of both sides
MARKED = re.compile(r"(<!-- accuracy -->\n).*?(<!-- /accuracy -->)", re.DOTALL)


def run(speech: Path) -> int:
    """`python -m evaluation report`."""
    engine = load_engine("onnx")
    audio = Audio(speech)
    lists = sorted((speech / "trials").glob("*.txt"))
    ours: dict[str, dict[str, Any]] = {path.stem: {} for path in lists}
    jobs = [(path, name) for path in lists for name in CONDITIONS]
    for path, name in tqdm(jobs, desc="dev lists", unit="list"):
        ours[path.stem][name] = evaluate_list(path, audio, CONDITIONS[name], engine)
    report = {"model_id": engine.model_id, "ours": ours, "samples": run_samples(engine)}
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    for name in SHOWN_IN:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(MARKED.sub(rf"\g<1>{table(report)}\g<2>", text), encoding="utf-8")
    print(table(report), end="")
    return 0


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table, EER in percent with its interval."""
    lines = ["| list | targets / impostors | whole recordings | middle 2 s |", "|---|---|---|---|"]
    for name, conditions in report["ours"].items():
        cells = [_eer(conditions[condition]) for condition in CONDITIONS]
        first = conditions["whole"]
        counts = f"{first['targets']:,} / {first['impostors']:,}"
        lines.append(f"| `{name}` | {counts} | {' | '.join(cells)} |")
    samples = report["samples"]
    low, high = samples["interval"]
    lines += [
        "",
        f"Sample set: {samples['identified']} of {samples['probes']} identified "
        f"({100 * low:.1f} to {100 * high:.1f} %). Network `{report['model_id']}`.",
    ]
    return "\n".join(lines) + "\n"


def _eer(result: dict[str, Any]) -> str:
    low, high = result["eer_interval_percent"]
    return f"{result['eer_percent']:.2f} ({low:.2f} to {high:.2f})"
