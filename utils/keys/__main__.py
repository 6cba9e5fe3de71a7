"""Makes, lists and revokes the keys of a server.

python -m utils.keys create --role enrol --note "call centre"     prints the key, once
python -m utils.keys list
python -m utils.keys revoke 1a2b3c4d                               ends at the next request
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from tabulate import tabulate

from utils.errors import SpeakerServerError
from utils.keys.store import ROLES, KeyStore
from utils.place import find_place


def main() -> int:
    arguments = _parser().parse_args()
    try:
        with find_place(arguments.gallery) as place:
            _carry_out(place.keys(), arguments)
    except SpeakerServerError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _carry_out(store: KeyStore, arguments: argparse.Namespace) -> None:
    if arguments.command == "create":
        text, key = store.create(arguments.role, arguments.collection, arguments.note)
        print(text)
        print(
            f"key {key.key_id}, {key.role} on {key.collection}: it is shown this once",
            file=sys.stderr,
        )
    elif arguments.command == "list":
        _list(store, arguments.json)
    else:
        key = store.revoke(arguments.key_id)
        print(f"{key.key_id} is revoked since {key.revoked_at}")


def _list(store: KeyStore, as_json: bool) -> None:
    fields = ("key_id", "role", "collection", "note", "created_at", "revoked_at")
    rows = [{name: asdict(key)[name] for name in fields} for key in store.listed()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        table = [list(row.values()) for row in rows]
        print(tabulate(table, [name.removesuffix("_at") for name in fields], disable_numparse=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--gallery",
        default="gallery",
        help="its folder, or postgresql://... (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create", help="make a key and print it, once")
    making.add_argument(
        "--role",
        choices=ROLES,
        default="identify",
        help="each may do what those before it may (default: %(default)s)",
    )
    making.add_argument("--collection", default="default", help="the gallery that it is for")
    making.add_argument("--note", default="", help="whose it is")
    listing = commands.add_parser("list", help="print what is kept of the keys")
    listing.add_argument("--json", action="store_true", help="for programs")
    ending = commands.add_parser("revoke", help="end a key")
    ending.add_argument("key_id", metavar="ID", help="the 8 digits of the list")
    return parser


if __name__ == "__main__":
    sys.exit(main())
