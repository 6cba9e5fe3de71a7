"""Measures how quick the answers are.

python -m benchmarks request                             one request, and many at once
python -m benchmarks request --json benchmarks/request.json
python -m benchmarks request --speakers 1000 --requests 50 --baseline-requests 10
python -m benchmarks embedding                           the network beside its peers
python -m benchmarks batching                            several requests' windows at once
python -m benchmarks search                              the nearest of a million speakers
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from benchmarks import batching, embedding, request
from utils.embedding import EngineName

ROOT = Path(__file__).parent.parent
SPEECH = ROOT.parent / "shared" / "speech"


def main() -> int:
    # the servers are stopped on the way out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments = _parser().parse_args()
    if arguments.command == "embedding":
        return embedding.run(arguments.speech, arguments.rounds, arguments.json)
    if arguments.command == "batching":
        return batching.run(arguments.engine, arguments.rounds, arguments.write)
    if arguments.command == "search":
        from benchmarks import search  # needs a database server, which the tests' tier has

        return search.run(
            arguments.speakers or list(search.SIZES), arguments.questions, arguments.write
        )
    plan = request.QUICK if arguments.quick else request.Plan()
    chosen = {
        name: value
        for name, value in vars(arguments).items()
        if name in request.Plan.__dataclass_fields__ and value is not None
    }
    return request.run(plan.with_changes(**chosen), arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, about: str | None = None) -> Callable[..., Any]:
        return commands.add_parser(
            name,
            help=text,
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ).add_argument

    add = command(
        "request",
        "the time of a request, beside the original way of answering it",
        request.__doc__,
    )
    default = request.Plan()
    sizes = " and ".join(map(str, default.speakers))
    add("--json", type=Path, metavar="FILE", help="write the figures here")
    add(
        "--speakers",
        type=_at_least(1),
        action="append",
        metavar="N",
        help=f"registered speakers; repeatable (default: {sizes})",
    )
    numbers: list[tuple[str, Callable[[str], float], str]] = [
        ("requests", _at_least(1), "timed requests of ours in each gallery"),
        ("baseline_requests", _at_least(1), "timed requests of the baseline in each gallery"),
        ("seconds", float, "after so long a gallery's measurement ends, complete or not"),
        ("clients", _at_least(1), "clients that ask at once, for requests a second"),
        ("clients_seconds", float, "how long they ask each server; 0 leaves them out"),
        ("processes", _at_least(1), "processes of our server"),
        ("threads", _at_least(1), "threads in each of them"),
    ]
    for name, kind, text in numbers:
        add(
            f"--{name.replace('_', '-')}",
            type=kind,
            help=f"{text} (default: {getattr(default, name):g})",
        )
    add("--engine", choices=("onnx", "int8"), help=f"of our server (default: {default.engine})")
    add(
        "--quick",
        action="store_true",
        help="a small gallery and a few requests: that it works, not how quick it is",
    )
    add = command("embedding", "the network alone, beside its peers", embedding.__doc__)
    add("--json", type=Path, metavar="FILE", help="write the figures here")
    add("--rounds", type=_at_least(1), default=100, help="calls of each (default: %(default)s)")
    add("--speech", type=Path, default=SPEECH, help="folder with the peers' teachers.py")
    add = command("batching", "the windows of several requests embedded together", batching.__doc__)
    add("--engine", choices=get_args(EngineName), default="onnx", help="(default: %(default)s)")
    add("--rounds", type=_at_least(1), default=100, help="calls of each (default: %(default)s)")
    add("--write", action="store_true", help="put the figures into docs/scale.md")
    add = command("search", "searching in memory and in the database, up to a million speakers")
    add("--speakers", type=_at_least(2000), action="append", metavar="N", help="repeatable")
    add("--questions", type=_at_least(10), default=100, help="(default: %(default)s)")
    add("--write", action="store_true", help="put the figures into docs/scale.md")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
