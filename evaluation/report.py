"""The accuracy figures of the docs: every dev list and condition, ours beside its peers.

Writes `evaluation/report.json`, keyed system -> list -> condition, the tables that stand between
`<!-- accuracy -->` marks in the README files, the model card and `docs/evaluation.md`, and the
picture of DET curves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from tqdm import tqdm

from evaluation.audio import Audio
from evaluation.conditions import CONDITIONS
from evaluation.identify import evaluate, make_plan
from evaluation.metrics import Scores
from evaluation.pictures import plot_det, save
from evaluation.samples import run_samples
from evaluation.systems import SYSTEMS, load_systems
from evaluation.trials import figures, read_list, score
from utils.embedding import load_engine

ROOT = Path(__file__).parent.parent
REPORT = Path(__file__).parent / "report.json"
CACHE = ROOT / ".cache" / "embeddings"
DET = ROOT / "img" / "det.png"
MARKED = re.compile(r"(<!-- accuracy -->\n).*?(<!-- /accuracy -->)", re.DOTALL)
TITLES = {
    "whole": "whole recordings",
    "2s": "middle 2 s",
    "2s_5db": "middle 2 s, babble and pink noise at 5 dB",
}
NAMES = {
    "ours": "ours (1.01 M, 64-d)",
    "campplus": "CAM++ (6.85 M, 192-d)",
    "resnet34": "WeSpeaker ResNet34 (6.63 M, 256-d)",
    "se_res2net50": "SE-Res2Net50 (1.25 M, 512-d)",
    "resemblyzer": "Resemblyzer (1.42 M, 256-d)",
}
SHOWN_LIST = "cv_cross"  # of which the DET curves and the identification are


def run(speech: Path, names: Sequence[str] = SYSTEMS) -> int:
    """`python -m evaluation report`."""
    audio = Audio(speech)
    systems = load_systems(names, speech)
    lists = [read_list(path) for path in sorted((speech / "trials").glob("*.txt"))]
    plan = make_plan(speech / "dev.tsv", SHOWN_LIST)
    report: dict[str, Any] = {}
    curves: dict[str, dict[str, tuple[Scores, Scores]]] = {each.name: {} for each in CONDITIONS}
    jobs = [(system, condition) for system in systems for condition in CONDITIONS]
    for system, condition in tqdm(jobs, desc="systems and conditions"):
        of_system = report.setdefault(system.name, {})
        for trials in lists:
            scores = score(trials, system, audio, condition, CACHE)
            of_system.setdefault(trials.name, {})[condition.name] = figures(trials, scores)
            if trials.name == SHOWN_LIST:
                sides = scores[trials.is_target], scores[~trials.is_target]
                curves[condition.name][NAMES[system.name]] = sides
        identified = evaluate(plan, system, audio, condition, CACHE)
        of_system.setdefault("identify", {})[condition.name] = identified
    engine = load_engine("onnx")
    report |= {"model_id": engine.model_id, "samples": run_samples(engine)}
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    _draw(curves)
    for name, table in SHOWN_IN.items():
        _fill(ROOT / name, table(report))
    print(short_table(report), end="")
    return 0


def _fill(path: Path, table: str) -> None:
    """Puts a table between the document's marks."""
    text = path.read_text(encoding="utf-8")
    path.write_text(MARKED.sub(lambda found: found[1] + table + found[2], text), encoding="utf-8")


def short_table(report: dict[str, Any]) -> str:
    """EER of every system and list at 2 s, clean and in noise; intervals for ours."""
    return "\n".join(
        [_eer_table(report, "2s"), _eer_table(report, "2s_5db"), _samples_line(report), ""]
    )


def card_table(report: dict[str, Any]) -> str:
    """Our own figures in every condition."""
    lists = _lists(report)
    lines = [
        f"| list | targets / impostors | {' | '.join(TITLES[name] for name in TITLES)} |",
        "|---" * (2 + len(TITLES)) + "|",
    ]
    for name in lists:
        of_list = report["ours"][name]
        counts = f"{of_list['whole']['targets']:,} / {of_list['whole']['impostors']:,}"
        cells = [_eer(of_list[condition], interval=True) for condition in TITLES]
        lines.append(f"| `{name}` | {counts} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _samples_line(report), ""])


def full_tables(report: dict[str, Any]) -> str:
    """EER, minDCF, Cllr and identification of all systems in all conditions."""
    parts = []
    for condition, title in TITLES.items():
        parts += [f"### {title[0].upper()}{title[1:]}\n", _eer_table(report, condition)]
        rows = [
            (f"`{name}`", NAMES[system], report[system][name][condition])
            for name in _lists(report)
            for system in _systems(report)
        ]
        parts.append("| list | system | minDCF(0.01) | minDCF(0.05) | Cllr | minimum |")
        parts.append("|---|---|---|---|---|---|")
        parts += [
            f"| {name} | {system} | {each['min_dcf_p01']:.3f} | {each['min_dcf_p05']:.3f} "
            f"| {each['cllr']:.3f} | {each['min_cllr']:.3f} |"
            for name, system, each in rows
        ]
        parts += ["", *_identification(report, condition), ""]
    return "\n".join([*parts, _samples_line(report), ""])


SHOWN_IN: dict[str, Callable[[dict[str, Any]], str]] = {
    "README.md": short_table,
    "README.ko.md": short_table,
    "best_model/MODEL_CARD.md": card_table,
    "docs/evaluation.md": full_tables,
}


def _eer_table(report: dict[str, Any], condition: str) -> str:
    lists = _lists(report)
    lines = [
        f"| EER, %, {TITLES[condition]} | {' | '.join(f'`{name}`' for name in lists)} |",
        "|---" * (1 + len(lists)) + "|",
    ]
    for system in _systems(report):
        cells = [_eer(report[system][name][condition], interval=system == "ours") for name in lists]
        lines.append(f"| {NAMES[system]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _identification(report: dict[str, Any], condition: str) -> list[str]:
    first = report["ours"]["identify"][condition]
    lines = [
        f"Identification on `{SHOWN_LIST}`: {first['probes']} probes, one enrolled recording a "
        f"speaker, {first['strangers']} strangers. In percent.",
        "",
        "| system | speakers | rank 1 | rank 5 | FNIR at FPIR 1 % | FNIR at FPIR 0.1 % |",
        "|---|---|---|---|---|---|",
    ]
    for system in _systems(report):
        for each in report[system]["identify"][condition].values():
            if isinstance(each, dict):
                rates = [each[name] for name in ("rank_1", "rank_5", "fnir_at_fpir_1",
                                                 "fnir_at_fpir_01")]  # fmt: skip
                cells = " | ".join(f"{100 * rate:.1f}" for rate in rates)
                lines.append(f"| {NAMES[system]} | {each['speakers']} | {cells} |")
    return lines


def _samples_line(report: dict[str, Any]) -> str:
    samples = report["samples"]
    low, high = samples["interval"]
    return (
        f"Sample set: {samples['identified']} of {samples['probes']} identified "
        f"({100 * low:.1f} to {100 * high:.1f} %). Network `{report['model_id']}`."
    )


def _systems(report: dict[str, Any]) -> list[str]:
    return [name for name in NAMES if name in report]


def _lists(report: dict[str, Any]) -> list[str]:
    return [name for name in report["ours"] if name != "identify"]


def _eer(result: dict[str, Any], *, interval: bool) -> str:
    if not interval:
        return f"{result['eer_percent']:.2f}"
    low, high = result["eer_percent_interval"]
    return f"{result['eer_percent']:.2f} ({low:.1f} to {high:.1f})"


def _draw(curves: dict[str, dict[str, tuple[Scores, Scores]]]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13.0, 4.6), layout="constrained")
    for plot, condition in zip(axes, TITLES, strict=True):
        plot_det(plot, curves[condition], TITLES[condition])
    axes[0].legend(fontsize="small", loc="lower left")
    figure.suptitle(f"{SHOWN_LIST}")
    save(figure, DET)
