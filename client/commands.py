"""The subcommands of Request.py: tables for people, `--json` for programs."""

from __future__ import annotations

import argparse
import json
import sys
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from client.connection import SERVER, RequestFailed
from client.v1 import V1Client

Arguments = argparse.Namespace


def run(arguments: list[str]) -> int:
    """Runs one subcommand; gives its exit status, 1 after any failure."""
    chosen = _parser().parse_args(arguments)
    client = V1Client(
        chosen.server, key=chosen.key, collection=chosen.collection, timeout_s=chosen.timeout
    )
    with client:
        try:
            return int(COMMANDS[chosen.command](client, chosen) or 0)
        except (RequestFailed, OSError, ValueError, wave.Error) as error:
            print(f"{chosen.command}: {error}", file=sys.stderr)
            return 1


def identify(client: V1Client, chosen: Arguments) -> None:
    found = client.identify(chosen.file, candidates=chosen.candidate, top_k=chosen.top)
    if _printed(found, chosen):
        return
    print(_outcome(found["speaker_id"], found["verdict"]))
    rows = [[one["speaker_id"], one["score"], one["probability"]] for one in found["candidates"]]
    _table(rows, ["speaker", "score", "probability"])


def batch(client: V1Client, chosen: Arguments) -> int:
    failures = 0
    answers = client.identify_many(chosen.files)
    for told in tqdm(answers, total=len(chosen.files), unit="file", disable=None):
        failures += told["status"] != 200
        if chosen.json:
            line = json.dumps(told, ensure_ascii=False)
        elif told["status"] == 200:
            line = f"{told['file']}: {_outcome(told['speaker_id'], told['verdict'])}"
        else:
            line = f"{told['file']}: {told['title']}: {told['detail']}"
        tqdm.write(line)
    return 1 if failures else 0


def verify(client: V1Client, chosen: Arguments) -> int:
    found = client.verify(chosen.file, chosen.speaker)
    if not _printed(found, chosen):
        print(f"{found['outcome']}: probability {found['probability']:.2f}, "
              f"score {found['score']:.3f}")  # fmt: skip
    return 0 if found["outcome"] == "accepted" else 1


def compare(client: V1Client, chosen: Arguments) -> int:
    found = client.compare(chosen.first, chosen.second)
    if not _printed(found, chosen):
        print(f"{found['outcome']}: probability {found['probability']:.2f}, "
              f"score {found['score']:.3f}")  # fmt: skip
    return 0 if found["outcome"] == "same" else 1


def embed(client: V1Client, chosen: Arguments) -> None:
    print(json.dumps(client.embed(chosen.file)))


def segments(client: V1Client, chosen: Arguments) -> None:
    if chosen.rttm:
        print(client.rttm(chosen.file), end="")
        return
    found = client.segments(chosen.file)
    if _printed(found, chosen):
        return
    rows = [
        [
            turn["start_s"],
            turn["end_s"],
            turn["speaker"],
            turn["verdict"]["probability"] if turn["verdict"] else None,
        ]
        for turn in found["turns"]
    ]
    _table(rows, ["from, s", "to, s", "speaker", "probability"])


def live(client: V1Client, chosen: Arguments) -> None:
    """Sends a WAV file as a microphone would."""
    with wave.open(str(chosen.file), "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError(f"{chosen.file}: a WAV file of one channel and 16 bits is needed")
        sound, rate = file.readframes(file.getnframes()), file.getframerate()
    for told in client.live(sound, rate, in_real_time=not chosen.fast):
        if chosen.json:
            print(json.dumps(told, ensure_ascii=False), flush=True)
        elif told["type"] == "waiting":
            print(f"{told['seconds']:5.1f} s  ...", flush=True)
        else:
            said = _outcome(told["speaker_id"], told["verdict"])
            print(f"{told['seconds']:5.1f} s  {said}{' (final)' * told['final']}", flush=True)


def enrol(client: V1Client, chosen: Arguments) -> None:
    consent = None
    if chosen.consent_by:
        consent = {"given_by": chosen.consent_by, "given_at": datetime.now(UTC).isoformat()}
        if chosen.until:
            consent["until"] = chosen.until
    metadata = json.loads(chosen.metadata)
    enrolled = client.enrol(chosen.speaker, chosen.files, metadata=metadata, consent=consent)
    _tell_enrolment(enrolled, chosen)


def add(client: V1Client, chosen: Arguments) -> None:
    _tell_enrolment(client.add(chosen.speaker, chosen.files), chosen)


def re_register(client: V1Client, chosen: Arguments) -> None:
    _tell_enrolment(client.replace(chosen.speaker, chosen.files), chosen)


def speakers(client: V1Client, chosen: Arguments) -> None:
    found = list(client.speakers(chosen.query))
    if _printed(found, chosen):
        return
    rows = [
        [
            one["speaker_id"],
            len(one["recordings"]),
            one["speech_s"],
            one["enrolled_at"][:10],
            (one["consent"] or {}).get("until"),
        ]
        for one in found
    ]
    _table(rows, ["speaker", "recordings", "speech, s", "enrolled", "consent until"])


def show(client: V1Client, chosen: Arguments) -> None:
    _print_json(client.speaker(chosen.speaker))


def rename(client: V1Client, chosen: Arguments) -> None:
    changed = client.change(chosen.speaker, speaker_id=chosen.new_id)
    if not _printed(changed, chosen):
        print(f"{chosen.speaker} is {changed['speaker_id']} from now on")


def delete(client: V1Client, chosen: Arguments) -> None:
    _print_json(client.delete(chosen.speaker))


def export(client: V1Client, chosen: Arguments) -> None:
    print(f"{client.export(chosen.archive)} bytes: {chosen.archive}")


def bring_in(client: V1Client, chosen: Arguments) -> None:
    report = client.import_(chosen.archive, chosen.on_conflict)
    if not _printed(report, chosen):
        print(f"{report['speakers']} speakers, {report['recordings']} recordings; "
              f"{len(report['skipped'])} skipped")  # fmt: skip


def health(client: V1Client, chosen: Arguments) -> None:
    facts = {**client.ready(), **client.gallery()}
    if not _printed(facts, chosen):
        print(tabulate(list(facts.items()), tablefmt="plain", disable_numparse=True))


COMMANDS: dict[str, Callable[[V1Client, Arguments], int | None]] = {
    "identify": identify,
    "batch": batch,
    "verify": verify,
    "compare": compare,
    "embed": embed,
    "segments": segments,
    "live": live,
    "enrol": enrol,
    "add": add,
    "re-register": re_register,
    "speakers": speakers,
    "show": show,
    "rename": rename,
    "delete": delete,
    "export": export,
    "import": bring_in,
    "health": health,
}


def _outcome(speaker_id: str | None, verdict: dict[str, Any]) -> str:
    name = speaker_id or {"unknown": "nobody who is enrolled"}.get(verdict["outcome"], "not sure")
    return f"{name} ({verdict['outcome']}, probability {verdict['probability']:.2f})"


def _tell_enrolment(said: dict[str, Any], chosen: Arguments) -> None:
    if _printed(said, chosen):
        return
    print(f"{said['speaker_id']}: {len(said['recordings'])} recordings, {said['speech_s']} s")
    if said["duplicate_of"]:
        print(f"this voice is enrolled as {said['duplicate_of']} already")
    if said["matches_before"] is False:
        print("this voice is not the one that was enrolled under this ID")


def _printed(value: object, chosen: Arguments) -> bool:
    """Prints for programs, where that was asked for."""
    if chosen.json:
        _print_json(value)
    return bool(chosen.json)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _table(rows: list[list[Any]], headers: list[str]) -> None:
    if rows:
        print(tabulate(rows, headers, floatfmt=".2f", disable_numparse=[0]))
    else:
        print("none")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="Request.py", description="Asks a speaker-identification server, through /v1."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--server", default=SERVER, help="default: %(default)s")
    common.add_argument("--key", help="API key; better in the environment, as SPEAKER_KEY")
    common.add_argument("--collection", help="that is asked about; the key's unless given")
    common.add_argument("--timeout", type=float, default=60.0, help="seconds to wait")
    common.add_argument("--json", action="store_true", help="print whole answers, for programs")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, **positional: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common])
        for argument, options in positional.items():
            made.add_argument(argument, **options)
        return made

    file = {"type": Path, "metavar": "FILE"}
    files = {**file, "nargs": "+"}
    asking = command("identify", "who is it?", file=file)
    asking.add_argument("--candidate", action="append", default=[], help="who may be meant")
    asking.add_argument("--top", type=int, default=5, help="of the nearest, how many")
    command("batch", "who is it, of each of many?", files=files)
    command("verify", "is it this speaker? exit status 0 if so", speaker={}, file=file)
    command("compare", "is it one voice? exit status 0 if so", first=file, second=file)
    command("embed", "print the embedding", file=file)
    who_when = command("segments", "who spoke when?", file=file)
    who_when.add_argument("--rttm", action="store_true", help="as RTTM")
    speaking = command("live", "send a WAV file as it is spoken", file=file)
    speaking.add_argument("--fast", action="store_true", help="as quickly as it is taken")
    enrolling = command("enrol", "enrol a new speaker", speaker={}, files=files)
    enrolling.add_argument("--metadata", default="{}", help="JSON object")
    enrolling.add_argument("--consent-by", help="who agreed that the voice is kept, and how")
    enrolling.add_argument("--until", help="when the consent ends")
    command("add", "let recordings answer with those enrolled", speaker={}, files=files)
    command("re-register", "let these recordings answer alone", speaker={}, files=files)
    listing = command("speakers", "who is enrolled?")
    listing.add_argument("--query", default="", help="only IDs with this in them")
    command("show", "print all that is known of a speaker", speaker={})
    command("rename", "give a speaker another ID", speaker={}, new_id={})
    command("delete", "remove all there is of a speaker; print the receipt", speaker={})
    command("export", "write the gallery into an archive", archive={"type": Path})
    reading = command("import", "enrol everybody of an archive", archive={"type": Path})
    reading.add_argument(
        "--on-conflict", choices=("refuse", "skip", "replace"), default="refuse",
        help="about IDs that are enrolled already (default: %(default)s)",
    )  # fmt: skip
    command("health", "is the server ready, and what does it hold?")
    return parser
