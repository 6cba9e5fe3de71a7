"""Looks after a gallery, also while servers use it.

python -m utils.gallery list                                   who is enrolled
python -m utils.gallery show hong@example.org                  one speaker, with the consent
python -m utils.gallery rename hong@example.org kim@example.org
python -m utils.gallery consent hong@example.org --given-by "by telephone" --until 2027-01-31
python -m utils.gallery delete hong@example.org                all of it, with a receipt
python -m utils.gallery purge                                  everybody whose consent has ended
python -m utils.gallery export backup.zip                      one portable file with checksums
python -m utils.gallery import backup.zip --on-conflict skip
python -m utils.gallery recompute                              after new weights, of kept sound
python -m utils.gallery copy gallery postgresql://...          all collections and keys, verified
python -m utils.gallery new-key gallery.key                    to encrypt a gallery with
python -m utils.gallery copy gallery encrypted --target-key-file gallery.key
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from utils.calibration import load_calibration
from utils.copying import copy_place
from utils.embedding import BEST_MODEL, ModelFiles
from utils.errors import NoSuchCollection, SpeakerServerError
from utils.gallery import Consent, Gallery, SpeakerRecord
from utils.gallery.archive import export_gallery, import_gallery
from utils.place import DEFAULT, Place, find_place
from utils.sealing import add_key_option, find_seal, make_key

PAGE = 1000


def main() -> int:
    arguments = _parser().parse_args()
    model_id = ModelFiles(BEST_MODEL).model_id
    try:
        if arguments.command == "new-key":
            return new_key(arguments.file)
        if arguments.command == "copy":
            return copy(arguments, model_id)
        calibration = load_calibration(BEST_MODEL, model_id)
        with find_place(arguments.gallery, find_seal(arguments.key_file)) as place:
            _require_gallery(place, arguments)
            with place.open_gallery(
                arguments.collection, model_id, calibration_id=calibration.calibration_id
            ) as gallery:
                return int(COMMANDS[arguments.command](gallery, arguments))
    except (SpeakerServerError, OSError) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1


def _require_gallery(place: Place, arguments: argparse.Namespace) -> None:
    if not place.exists() and arguments.command != "import":
        raise NoSuchCollection(f"{place.shown}: there is no such gallery; see --gallery")
    if arguments.collection != DEFAULT and not place.has(arguments.collection):
        raise NoSuchCollection(f"there is no collection {arguments.collection!r}")


def list_speakers(gallery: Gallery, arguments: argparse.Namespace) -> int:
    records = list(_everybody(gallery, arguments.query))
    if arguments.json:
        _print_json([_as_json(one) for one in records])
    else:
        rows = [
            [
                one.speaker_id,
                len(one.recordings),
                one.speech_s,
                one.enrolled_at,
                _consent_in_words(one),
            ]
            for one in records
        ]
        headers = ["speaker", "recordings", "speech, s", "enrolled", "consent"]
        print(tabulate(rows, headers, floatfmt=".1f", disable_numparse=[0]) if rows else "nobody")
    return 0


def show(gallery: Gallery, arguments: argparse.Namespace) -> int:
    _print_json(_as_json(gallery.speaker(arguments.speaker)))
    return 0


def rename(gallery: Gallery, arguments: argparse.Namespace) -> int:
    gallery.rename(arguments.speaker, arguments.new_id)
    print(f"{arguments.speaker} is {arguments.new_id} from now on")
    return 0


def consent(gallery: Gallery, arguments: argparse.Namespace) -> int:
    given_at = arguments.given_at or datetime.now(UTC).isoformat()
    given = Consent(arguments.given_by, given_at, arguments.until)
    profile = gallery.speaker(arguments.speaker).profile
    gallery.set_profile(arguments.speaker, replace(profile, consent=given))
    print(_consent_in_words(gallery.speaker(arguments.speaker)))
    return 0


def delete(gallery: Gallery, arguments: argparse.Namespace) -> int:
    receipt = gallery.delete(arguments.speaker)
    _print_json(asdict(receipt))
    return 0 if receipt.verified_gone else 1


def purge(gallery: Gallery, _: argparse.Namespace) -> int:
    receipts = gallery.purge_expired()
    _print_json([asdict(one) for one in receipts])
    return 0 if all(one.verified_gone for one in receipts) else 1


def export(gallery: Gallery, arguments: argparse.Namespace) -> int:
    """Under another name first, so that a broken export is never taken for a whole one."""
    beside = arguments.archive.with_name(arguments.archive.name + ".part")
    try:
        with beside.open("xb") as file:
            speakers = export_gallery(gallery, file)
        beside.replace(arguments.archive)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
    print(f"{speakers} speakers, {arguments.archive.stat().st_size} bytes: {arguments.archive}")
    return 0


def bring_in(gallery: Gallery, arguments: argparse.Namespace) -> int:
    with arguments.archive.open("rb") as file:
        report = import_gallery(gallery, file, on_conflict=arguments.on_conflict)
    print(
        f"{report.speakers} speakers, {report.recordings} recordings; "
        f"{len(report.skipped)} skipped, {report.of_other_networks} of another network"
    )
    return 0


def recompute(gallery: Gallery, _: argparse.Namespace) -> int:
    """Goes on where a recording cannot be heard any more, and then ends with 1."""
    from utils.hearing import open_ear

    ear = open_ear()
    done = failed = left = 0
    for record in tqdm(list(_everybody(gallery)), unit="speaker"):
        try:
            done += gallery.recompute(record.speaker_id, ear.embeddings)
        except SpeakerServerError as error:
            failed += 1
            tqdm.write(f"{record.speaker_id}: {error}", file=sys.stderr)
        now = gallery.recordings(record.speaker_id)
        left += sum(one.model_id != gallery.model_id for one in now)
    print(f"{done} recordings computed again, {left} of another network left without their sound")
    return 1 if failed else 0


def copy(arguments: argparse.Namespace, model_id: str) -> int:
    new_seal = find_seal(arguments.target_key_file, {})
    with (
        find_place(arguments.source, find_seal(arguments.key_file)) as here,
        find_place(arguments.target, new_seal) as there,
    ):
        if not here.exists():
            raise NoSuchCollection(f"{here.shown}: there is no gallery")
        done = copy_place(here, there, model_id, progress=True)
        print(
            f"{done.speakers} speakers, {done.recordings} recordings, {done.collections} "
            f"collections and {done.keys} keys: copied to {there.shown}, read again and the same"
        )
    return 0


def new_key(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(make_key() + "\n")
        file.flush()
        os.fsync(file.fileno())
    print(
        f"{path} has the key {find_seal(path).key_id}. Keep a copy elsewhere, apart from the "
        "gallery's backups: without it nothing in the gallery can be read."
    )
    return 0


COMMANDS = {
    "list": list_speakers,
    "show": show,
    "rename": rename,
    "consent": consent,
    "delete": delete,
    "purge": purge,
    "export": export,
    "import": bring_in,
    "recompute": recompute,
}


def _everybody(gallery: Gallery, query: str = "") -> Iterable[SpeakerRecord]:
    offset = 0
    while page := gallery.speakers(query, offset, PAGE)[0]:
        offset += len(page)
        yield from page


def _consent_in_words(record: SpeakerRecord) -> str:
    given = record.profile.consent
    if given is None:
        return "none noted"
    if record.is_expired:
        return f"ended {given.until}: answers no more"
    return f"until {given.until}" if given.until else "until it is withdrawn"


def _as_json(record: SpeakerRecord) -> dict[str, Any]:
    values = asdict(record)
    return {**values, **values.pop("profile")}


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--gallery",
        default="gallery",
        help="its folder, or postgresql://... (default: %(default)s)",
    )
    parser.add_argument("--collection", default=DEFAULT, help="which of its galleries")
    add_key_option(parser)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, *arguments: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        for argument in arguments:
            command.add_argument(argument, metavar=argument.upper())
        return command

    listing = add("list", "print who is enrolled")
    listing.add_argument("--query", default="", help="only IDs with this in them")
    listing.add_argument("--json", action="store_true", help="print all that is known")
    add("show", "print all that is known of a speaker", "speaker")
    add("rename", "give a speaker another ID", "speaker", "new_id")
    consents = add("consent", "note who agreed that the voice is kept, and until when", "speaker")
    consents.add_argument("--given-by", required=True, help="who agreed, and how")
    consents.add_argument("--given-at", help="when; now unless given")
    consents.add_argument("--until", help="a date or a time; without it, until it is withdrawn")
    add("delete", "remove all there is of a speaker, and print a receipt", "speaker")
    add("purge", "delete everybody whose consent has ended, and print receipts")
    writing = add("export", "write everybody into one archive")
    writing.add_argument("archive", type=Path)
    reading = add("import", "enrol everybody of an archive")
    reading.add_argument("archive", type=Path)
    reading.add_argument(
        "--on-conflict",
        choices=("refuse", "skip", "replace"),
        default="refuse",
        help="about IDs that are enrolled here already (default: %(default)s)",
    )
    copying = add(
        "copy", "copy all collections and keys elsewhere, and verify them", "source", "target"
    )
    copying.add_argument(
        "--target-key-file",
        type=Path,
        help="encrypt the target with this key (without it, it is not encrypted)",
    )
    making = add("new-key", "make a key to encrypt a gallery with")
    making.add_argument("file", metavar="FILE", type=Path, help="a new file, for its owner alone")
    add("recompute", "give kept recordings the embeddings of the network that is here now")
    return parser


if __name__ == "__main__":
    sys.exit(main())
