"""Measures how right the answers are.

python -m evaluation demo                      the sample set over HTTP, line by line
python -m evaluation samples                   the same figures without a server
python -m evaluation trials LIST --audio-root DIR --crop-s 2 --noise-db 5
python -m evaluation identify MANIFEST --audio-root DIR
python -m evaluation report                    all dev lists; writes the docs' figures
python -m evaluation calibrate                 scores that can be trusted; writes the calibration
python -m evaluation gallery [WHERE]           look-alikes, duplicates, poor enrolments
python -m evaluation segments                  who spoke when, on conversations made of dev
python -m evaluation console                   pictures of the console, by a real browser
python -m evaluation api                       the examples of docs/api.md, run again
python -m evaluation readme                    the examples of the docs, run again
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evaluation.codecs import CODECS
from evaluation.conditions import CONDITIONS, REPORTED, Condition
from evaluation.systems import SYSTEMS
from utils.sealing import add_key_option

ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.command == "demo":
        from evaluation import demo

        return demo.run(arguments.picture)
    if arguments.command == "samples":
        from evaluation import samples

        return samples.run(arguments.json)
    if arguments.command == "report":
        from evaluation import report

        return report.run(arguments.speech, arguments.systems, arguments.conditions)
    if arguments.command == "calibrate":
        from evaluation import calibrate, own_calibration

        if arguments.mine:
            return own_calibration.run(
                arguments.mine, arguments.output, arguments.picture, arguments.max_fpir
            )
        return calibrate.run(arguments.speech)
    if arguments.command == "gallery":
        from evaluation import gallery_health

        return gallery_health.run(
            arguments.where, arguments.key_file, arguments.shown, arguments.json
        )
    if arguments.command == "segments":
        from evaluation import segments

        return segments.run(
            arguments.speech, arguments.part, arguments.mixtures, arguments.json, arguments.write
        )
    if arguments.command == "api":
        from evaluation import api_examples

        return api_examples.run()
    if arguments.command == "console":
        from evaluation import console

        return console.run()
    if arguments.command == "readme":
        from evaluation import readme

        return readme.run()
    from evaluation import identify, trials

    try:
        condition = Condition(
            arguments.crop_s, arguments.noise_db, arguments.codec, arguments.crop_seed
        )
    except ValueError as error:
        parser.error(str(error))
    system, speech, json = arguments.system, arguments.speech, arguments.json
    if arguments.command == "identify":
        return identify.run(
            arguments.manifest, arguments.audio_root, arguments.source, system, speech, condition,
            json, arguments.det,
        )  # fmt: skip
    return trials.run(
        arguments.list, arguments.audio_root, system, speech, condition, json, arguments.det
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="start a server and send it the sample set")
    demo.add_argument("--picture", type=Path, default=ROOT / "out" / "confusion.png")
    samples = commands.add_parser("samples", help="enrol and identify the sample set")
    samples.add_argument("--json", type=Path, help="write the figures here")
    trials = commands.add_parser("trials", help="error rates on lists of `1|0 enrolled probe`")
    trials.add_argument("list", type=Path, nargs="+")
    identify = commands.add_parser("identify", help="who is it, among how many, or nobody of them?")
    identify.add_argument("manifest", type=Path, help="tab-separated, columns `file`, `speaker`")
    identify.add_argument("--source", help="only lines with this in their column `source`")
    report = commands.add_parser("report", help="all dev lists; writes the figures of the docs")
    report.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="default: all that install"
    )
    report.add_argument(
        "--conditions", nargs="+", choices=[condition.name for condition in CONDITIONS],
        default=REPORTED, help=f"default: {' '.join(REPORTED)}",
    )  # fmt: skip
    for command in (trials, identify):
        _add_condition(command)
    gallery = commands.add_parser("gallery", help="the health of a server's gallery")
    gallery.add_argument("where", nargs="?", default=str(ROOT / "gallery"))
    add_key_option(gallery)
    add = gallery.add_argument
    add("--shown", type=_count, default=20, help="most lines of a kind (default: %(default)s)")
    gallery.add_argument("--json", type=Path, help="write all of it here")
    calibrate = commands.add_parser("calibrate", help="fit likelihood ratios and thresholds on dev")
    add = calibrate.add_argument
    add("--mine", type=Path, metavar="FOLDER", help="on your own recordings, a folder per speaker")
    add("--output", type=Path, default=ROOT / "out" / "calibration.json", help="with --mine")
    add("--picture", type=Path, default=ROOT / "out" / "calibration.png", help="with --mine")
    add("--max-fpir", type=float, default=0.01, help="with --mine: what is drawn and said")
    segments = commands.add_parser("segments", help="who spoke when, on conversations made of dev")
    add = segments.add_argument
    add("--part", choices=("choose", "report"), default="report", help="default: %(default)s")
    add("--mixtures", type=int, default=80, help="conversations (default: %(default)s)")
    add("--json", type=Path, metavar="OUT", help="write the figures here")
    add("--write", action="store_true", help="and into evaluation/segments.json")
    for command in (trials, identify, report, calibrate, segments):
        command.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech",
                             help="the corpus folder, with the peers' teachers.py")  # fmt: skip
    commands.add_parser("api", help="run the examples of docs/api.md and show their real answers")
    commands.add_parser("console", help="pictures of the console at work, into img/")
    commands.add_parser("readme", help="run the READMEs' examples and show their real answers")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _add_condition(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--audio-root", type=Path, required=True, help="folder of the recordings or zip shards")
    add("--system", choices=SYSTEMS, default="ours", help="default: %(default)s")
    add("--crop-s", type=float, help="only so many seconds of both sides")
    add("--crop-seed", type=int, help="crop at a random place of this seed, not in the middle")
    add("--noise-db", type=float, help="babble and pink noise on the probe, at this ratio")
    add("--codec", choices=CODECS, help="the probe was coded so")
    add("--json", type=Path, help="write the figures here")
    add("--det", type=Path, metavar="PNG", help="draw the DET curves here")


if __name__ == "__main__":
    sys.exit(main())
