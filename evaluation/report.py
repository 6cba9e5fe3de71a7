"""The accuracy figures of the docs: every dev list and condition, ours beside its peers.

Writes `evaluation/report.json`, keyed system -> list -> condition, the tables that stand between
`<!-- accuracy -->` marks in the README files, the model card and `docs/evaluation.md`, and the
pictures of DET curves.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation import identify
from evaluation.audio import Audio
from evaluation.conditions import CONDITIONS, REPORTED, Condition
from evaluation.embeddings import CACHE
from evaluation.files import fill_marked
from evaluation.metrics import Scores
from evaluation.pictures import det_curve, draw_dets
from evaluation.samples import run_samples
from evaluation.systems import SYSTEMS, System, load_systems
from evaluation.trials import figures, read_list, score
from utils.embedding import BEST_MODEL, load_engine

ROOT = Path(__file__).parent.parent
REPORT = Path(__file__).parent / "report.json"
DET = ROOT / "img" / "det.png"
OPEN_SET_DET = ROOT / "img" / "det_open_set.png"
MARK = "accuracy"  # of where the documents have their tables
TITLES = {
    "whole": "whole recordings",
    "2s": "middle 2 s",
    "2s_5db": "middle 2 s, babble and pink noise at 5 dB",
    "3s_gsm": "middle 3 s, asking over GSM",
}
SHORT = ("2s", "2s_5db")  # in the READMEs
PEERS = {
    "campplus": "CAM++ (6.85 M, 192-d)",
    "resnet34": "WeSpeaker ResNet34 (6.63 M, 256-d)",
    "se_res2net50": "SE-Res2Net50 (1.25 M, 512-d)",
    "resemblyzer": "Resemblyzer (1.42 M, 256-d)",
}
COSTS = ("min_dcf_p01", "min_dcf_p05", "cllr", "min_cllr")
RATES = ("rank_1", "rank_5", "fnir_at_fpir_1", "fnir_at_fpir_01")
SHOWN_LIST = "cv_cross"  # of which the DET curves and the identification are


Plots = dict[str, dict[str, tuple[Scores, Scores]]]
"""DET curves by condition and system."""


def run(speech: Path, names: Sequence[str] = SYSTEMS, conditions: Sequence[str] = REPORTED) -> int:
    """`python -m evaluation report`; ours is measured whether it is named or not.

    Args:
        conditions: names of some of `CONDITIONS`.
    """
    chosen = [each for each in CONDITIONS if each.name in conditions]
    engine = load_engine("onnx")
    systems = load_systems(list(dict.fromkeys(["ours", *names])), speech)
    measured, det, open_set_det = measure(systems, speech, chosen, cache=CACHE)
    made_of = json.loads((BEST_MODEL / "model.json").read_text())
    report = {
        **measured,
        "model_id": engine.model_id,
        "parameters": made_of["parameters"],
        "samples": run_samples(engine),
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    draw_dets(_titled(det, report), DET)
    draw_dets(_titled(open_set_det, report), OPEN_SET_DET, open_set=True)
    for document, table in SHOWN_IN.items():
        fill_marked(ROOT / document, MARK, table(report))
    print(short_table(report), end="")
    return 0


def measure(
    systems: Sequence[System],
    speech: Path,
    conditions: Sequence[Condition] = CONDITIONS,
    *,
    cache: Path | None = None,
) -> tuple[dict[str, Any], Plots, Plots]:
    """Runs all lists of `trials/` in the corpus folder, and identification as `dev.tsv` has it.

    Args:
        cache: as for `embed_all`.

    Returns:
        The figures, system -> list or `identify` -> condition, and the DET curves of `SHOWN_LIST`
        for trials and for identification with all its speakers enrolled.

    Raises:
        SystemExit: a list, the manifest or a recording is missing or broken.
    """
    audio = Audio(speech)
    lists = [read_list(path) for path in sorted((speech / "trials").glob("*.txt"))]
    plan = identify.make_plan(speech / "dev.tsv", SHOWN_LIST)
    found: dict[str, Any] = defaultdict(lambda: defaultdict(dict))
    det: Plots = defaultdict(dict)
    open_set_det: Plots = defaultdict(dict)
    jobs = list(itertools.product(systems, conditions))
    for system, condition in tqdm(jobs, desc="systems and conditions"):
        of_system, name = found[system.name], condition.name
        for trials in lists:
            scores = score(trials, system, audio, condition, cache)
            of_system[trials.name][name] = figures(trials, scores)
            if trials.name == SHOWN_LIST:
                sides = scores[trials.is_target], scores[~trials.is_target]
                det[name][system.name] = det_curve(*sides)
        asked = identify.ask(plan, system, audio, condition, cache)
        of_system["identify"][name] = identify.figures(asked, plan)
        open_set_det[name][system.name] = identify.det_curves(asked, plan)["all"]
    return found, det, open_set_det


def _titled(plots: Plots, report: dict[str, Any]) -> Plots:
    """The same in the words of the tables."""
    return {
        f"{SHOWN_LIST}, {TITLES[condition]}": {
            _name(report, system): curve for system, curve in curves.items()
        }
        for condition, curves in plots.items()
    }


def _name(report: dict[str, Any], system: str) -> str:
    """As the tables have it: with its size and that of its embeddings."""
    return PEERS.get(system, f"ours ({report['parameters'] / 1e6:.2f} M, 64-d)")


def short_table(report: dict[str, Any]) -> str:
    """EER of every system and list at 2 s, clean and in noise; intervals for ours."""
    tables = [_eer_table(report, condition) for condition in SHORT]
    return "\n".join([*tables, _samples_line(report), ""])


def card_table(report: dict[str, Any]) -> str:
    """Our own EER in every condition."""
    conditions = _conditions(report)
    lines = [
        f"| list | targets / impostors | {' | '.join(TITLES[each] for each in conditions)} |",
        "|---" * (2 + len(conditions)) + "|",
    ]
    for name in _lists(report):
        of_list = report["ours"][name]
        counts = f"{of_list['whole']['targets']:,} / {of_list['whole']['impostors']:,}"
        cells = [_eer(of_list[condition]) for condition in conditions]
        lines.append(f"| `{name}` | {counts} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _samples_line(report), ""])


def full_tables(report: dict[str, Any]) -> str:
    """EER, minDCF, Cllr and identification of all systems in all conditions, with intervals."""
    parts = []
    for condition in _conditions(report):
        title = TITLES[condition]
        parts += [
            f"### {title[0].upper()}{title[1:]}\n",
            _eer_table(report, condition, with_interval=_systems(report)),
        ]
        rows = [
            (f"`{name}`", _name(report, system), report[system][name][condition])
            for name in _lists(report)
            for system in _systems(report)
        ]
        parts.append("| list | system | minDCF(0.01) | minDCF(0.05) | Cllr | minimum |")
        parts.append("|---|---|---|---|---|---|")
        parts += [
            f"| {name} | {system} | {' | '.join(_figure(each, cost, 3) for cost in COSTS)} |"
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


def _eer_table(
    report: dict[str, Any], condition: str, with_interval: Sequence[str] = ("ours",)
) -> str:
    lists = _lists(report)
    lines = [
        f"| EER, %, {TITLES[condition]} | {' | '.join(f'`{name}`' for name in lists)} |",
        "|---" * (1 + len(lists)) + "|",
    ]
    for system in _systems(report):
        cells = [
            _eer(report[system][name][condition], with_interval=system in with_interval)
            for name in lists
        ]
        lines.append(f"| {_name(report, system)} | {' | '.join(cells)} |")
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
                cells = " | ".join(_figure(each, rate, 1, 100.0) for rate in RATES)
                lines.append(f"| {_name(report, system)} | {each['speakers']} | {cells} |")
    return lines


def _samples_line(report: dict[str, Any]) -> str:
    samples = report["samples"]
    low, high = samples["interval"]
    return (
        f"Sample set: {samples['identified']} of {samples['probes']} identified "
        f"({100 * low:.1f} to {100 * high:.1f} %). Network `{report['model_id']}`."
    )


def _systems(report: dict[str, Any]) -> list[str]:
    return [name for name in ("ours", *PEERS) if name in report]


def _lists(report: dict[str, Any]) -> list[str]:
    return [name for name in report["ours"] if name != "identify"]


def _conditions(report: dict[str, Any]) -> list[str]:
    return [name for name in TITLES if name in report["ours"]["identify"]]


def _eer(result: dict[str, Any], *, with_interval: bool = True) -> str:
    return _figure(result, "eer_percent", 2, with_interval=with_interval)


def _figure(
    result: dict[str, Any],
    name: str,
    digits: int,
    scale: float = 1.0,
    *,
    with_interval: bool = True,
) -> str:
    """Rounded, and behind it its interval with a digit less where one was measured."""
    text = f"{scale * result[name]:.{digits}f}"
    ends = result.get(f"{name}_interval")
    if not (with_interval and ends):
        return text
    low, high = (f"{scale * end:.{digits - 1}f}" for end in ends)
    return f"{text} ({low} to {high})"
