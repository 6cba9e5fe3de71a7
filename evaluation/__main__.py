"""Measures how right the answers are.

python -m evaluation demo                      the sample set over HTTP, line by line
python -m evaluation samples                   the same figures without a server
python -m evaluation trials LIST --audio-root DIR --crop-s 2
python -m evaluation report                    all dev lists; writes the docs' figures
python -m evaluation readme                    the examples of the docs, run again
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command == "demo":
        from evaluation import demo

        return demo.run(arguments.picture)
    if arguments.command == "samples":
        from evaluation import samples

        return samples.run(arguments.json)
    if arguments.command == "report":
        from evaluation import report

        return report.run(arguments.speech)
    if arguments.command == "readme":
        from evaluation import readme

        return readme.run()
    from evaluation import trials

    return trials.run(arguments.list, arguments.audio_root, arguments.crop_s, arguments.json)


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
    trials = commands.add_parser("trials", help="EER on lists of `1|0 enrolled probe` lines")
    trials.add_argument("list", type=Path, nargs="+")
    trials.add_argument("--audio-root", type=Path, required=True, help="folder or its zip shards")
    trials.add_argument("--crop-s", type=float, help="use only the middle seconds of both sides")
    trials.add_argument("--json", type=Path, help="write the figures here")
    report = commands.add_parser("report", help="all dev lists; writes the figures of the docs")
    report.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
    commands.add_parser("readme", help="run the READMEs' examples and show their real answers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
