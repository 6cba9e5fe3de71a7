"""Trains the network, stage by stage: `python -m training run`, then `python -m training export`.

python -m training run --name first --speech ../shared/speech --steps 5000
python -m training export --name first
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from pathlib import Path

from training.settings import CENTRING, RUNS, WCCN, RunSettings

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "corpus"


def main() -> None:
    arguments = _parser().parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(arguments.threads))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # Keras reads KERAS_BACKEND when it is first imported, so these wait for the environment.
    if arguments.command == "run":
        from training.network import network_settings
        from training.run import train

        try:
            network = network_settings(arguments.network)
        except (TypeError, AttributeError) as error:
            raise SystemExit(f"--network: {error}") from None
        names = [field.name for field in dataclasses.fields(RunSettings)]
        train(
            arguments.name,
            RunSettings(**{name: getattr(arguments, name) for name in names}),
            speech=arguments.speech,
            cache=arguments.cache,
            workers=arguments.workers,
            minutes=arguments.minutes,
            network=network,
        )
    elif arguments.command == "rooms":
        from training.corpus import SIMULATED_ROOMS
        from training.rooms import simulate_rooms

        simulate_rooms(arguments.cache / SIMULATED_ROOMS, arguments.count)
    elif arguments.command == "teach":
        from training.teach import teach_device, teach_speed, teach_windows

        folders, workers = (arguments.speech, arguments.cache), arguments.workers
        if arguments.speed is not None:
            print(teach_speed(*folders, arguments.speed, workers))
        elif arguments.weights:
            print(teach_device(*folders))
        else:
            print(teach_windows(*folders, arguments.windows, workers))
    elif arguments.command == "space":
        from training.corpus import load_corpus
        from training.target_space import fit_target_space, write_target_space

        corpus = load_corpus(arguments.speech, arguments.cache)
        space = fit_target_space(corpus, wccn=arguments.wccn, centring=arguments.centring)
        print(write_target_space(space))
    elif arguments.command == "keep":
        from training.checkpoint import keep

        print(keep(RUNS / arguments.name))
    elif arguments.command == "blend":
        from training.checkpoint import blend

        runs = (RUNS / arguments.one, RUNS / arguments.other)
        try:
            print(blend(*runs, arguments.share, RUNS / arguments.name))
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(f"blend: {error}") from None
    elif arguments.command == "picture":
        from training.picture import draw_degradations

        draw_degradations(ROOT / "data", arguments.speech, arguments.picture)
    elif arguments.command == "curves":
        from training.curves import draw_curves

        draw_curves(RUNS / arguments.name, RUNS / arguments.name / "curves.png")
        print(RUNS / arguments.name / "curves.png")
    elif arguments.command == "detector":
        from training.speech_detector import write_detector

        print(write_detector(arguments.wheel, arguments.best_model))
    elif arguments.command == "cohort":
        from training.cohort import write_cohort

        print(write_cohort(arguments.best_model, speech=arguments.speech, cache=arguments.cache))
    else:
        from training.export import export_run

        export_run(
            arguments.name,
            arguments.best_model,
            speech=arguments.speech,
            cache=arguments.cache,
            shrinkage=arguments.shrinkage,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(threads=1)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train, or take up a run that was stopped")
    run.add_argument("--workers", type=int, default=1, help="processes that make batches")
    run.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="stop and save after so long (default: %(default)s)",
    )
    run.add_argument("--threads", type=int, default=1, help="CPU threads of the network")
    run.add_argument(
        "--network",
        type=json.loads,
        default={},
        metavar="JSON",
        help="another shape: settings of training/network.py, such as '{\"recurrent_units\": 256}'",
    )
    for field in dataclasses.fields(RunSettings):
        flag = f"--{field.name.replace('_', '-')}"
        run.add_argument(
            flag, type=type(field.default), default=field.default, help="default: %(default)s"
        )
    export = commands.add_parser("export", help="write best_model/ from a run's averaged weights")
    export.add_argument("--shrinkage", type=float, default=0.3, help="of the head's WCCN, 0 to 1")
    rooms = commands.add_parser("rooms", help="simulate rooms, for `run` to hear voices in")
    rooms.add_argument("--count", type=int, default=200, help="default: %(default)s")
    rooms.add_argument("--cache", type=Path, default=CACHE)
    teaching = commands.add_parser(
        "teach", help="ask the teacher about voices at another speed, or about single windows"
    )
    about = teaching.add_mutually_exclusive_group(required=True)
    about.add_argument("--speed", type=float, help="all recordings, so fast: such as 0.9 or 1.1")
    about.add_argument(
        "--windows", type=int, metavar="SEED", help="as many as fill the speech, drawn from a seed"
    )
    about.add_argument(
        "--weights", action="store_true", help="write the teacher's weights, for a run on a GPU"
    )
    teaching.add_argument("--workers", type=int, default=1, help="processes that run the teacher")
    spacing = commands.add_parser(
        "space", help="choose the directions of the teacher's embeddings that runs learn"
    )
    spacing.add_argument("--wccn", type=float, default=WCCN, help="default: %(default)s")
    spacing.add_argument(
        "--centring",
        type=float,
        default=CENTRING,
        help="of the mean of a source and language taken off (default: %(default)s)",
    )
    cohort = commands.add_parser("cohort", help="embed the training speakers for the calibration")
    detector = commands.add_parser("detector", help="write the speech detector out of Silero's")
    detector.add_argument("--wheel", type=Path, required=True, help="of silero-vad, from PyPI")
    picture = commands.add_parser("picture", help="draw what is done to the training recordings")
    picture.add_argument("--picture", type=Path, default=ROOT / "img" / "degradations.png")
    curves = commands.add_parser("curves", help="draw a run's losses and dev EERs")
    keeping = commands.add_parser(
        "keep", help="write a run's averaged weights to training/weights/"
    )
    blending = commands.add_parser("blend", help="make a run of the mean of two runs' weights")
    blending.add_argument("--one", required=True, help="a run")
    blending.add_argument("--other", required=True, help="a run that began with the first one's")
    blending.add_argument("--share", type=float, default=0.5, help="of the other's weights")
    for command in (run, export, curves, keeping, blending):
        command.add_argument("--name", required=True, help="the run's folder in training/runs/")
    for command in (run, export, cohort, teaching, spacing, picture):
        command.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
        command.add_argument("--cache", type=Path, default=CACHE)
    for command in (export, cohort, detector):
        command.add_argument("--best-model", type=Path, default=ROOT / "best_model")
    return parser


if __name__ == "__main__":
    main()
