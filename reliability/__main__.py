"""Tries whether the server holds: under load, under faults, under attack.

Every command starts servers of its own on loopback, over galleries in temporary folders.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

# A command is the module of its name: add_arguments(parser), and run(arguments) -> exit status.
COMMANDS = {
    "load": "half an hour of traffic, then far too much of it",
    "faults": "killed processes, full disks, a clock that jumps",
    "requests": "paths, links, archives, broken HTTP, guessed keys",
    "climb": "a thief who asks again and again",
    "media": "hostile recordings",
}


def main() -> int:
    # the servers are stopped on the way out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"reliability.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
