"""The client: asks a speaker-identification server who is speaking in a recording.

    python Request.py                                   send a sample recording
    python Request.py hong@example.org-0.mp4 ...        send these
    python Request.py --path data/ast1@example.org-1.mp4    name a file that the server can read

    python Request.py enrol hong@example.org a.mp4 b.mp4    everything under /v1: also identify,
    python Request.py identify who.mp4                  verify, compare, embed, batch, segments,
    python Request.py speakers                          live, add, re-register, show, rename,
    python Request.py identify --help                   delete, export, import, health

Importable: `SpeakerClient(server).identify(path)` asks the first interface,
`client.V1Client(server)` the one under /v1. Needs nothing else of this project.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from client import RequestFailed
from client.commands import COMMANDS, run
from client.connection import SERVER, Connection

__all__ = ["RequestFailed", "SpeakerClient"]

SAMPLE = Path(__file__).parent / "data" / "ast1@example.org-0.mp4"


class SpeakerClient:
    """One server, over one kept-open connection. Not to be shared between threads."""

    def __init__(
        self, server: str = SERVER, timeout_s: float = 60.0, key: str | None = None
    ) -> None:
        """`key`: that in the environment variable SPEAKER_KEY unless given."""
        self.url = server.rstrip("/") + "/Identification_Request"
        self._connection = Connection(server, key=key, timeout_s=timeout_s)

    def __enter__(self) -> SpeakerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def identify(
        self,
        recording: Path,
        *,
        upload: bool = True,
        re_register: bool = False,
        register: bool = True,
        add: bool = False,
    ) -> dict[str, Any]:
        """Sends one recording, named `<speaker ID>-<number>.mp4`.

        Args:
            upload: send the file itself; otherwise only its name and folder, for the server to
                open under one of its upload roots.
            re_register: replace what is enrolled under this ID with this recording.
            register: whether an ID that is not known yet is enrolled.
            add: let this recording join those that are enrolled under its ID.

        Returns:
            The server's answer: "100001", speaker_id, decision, score, candidates, verdict,
            quality, and more.

        Raises:
            RequestFailed: the server answered with an error or not at all.
            OSError: the file cannot be read.
        """
        fields = {
            "name": recording.name,
            "ip_address": self.url,
            "re_register": str(re_register),
            "register": str(register),
            "add": str(add),
        }
        if not upload:
            fields["path_dir"] = str(recording.parent.resolve())
            return self._post(fields, None)
        with recording.open("rb") as file:
            return self._post(fields, {"file": (recording.name, file, "video/mp4")})

    def _post(self, fields: dict[str, str], files: Any) -> dict[str, Any]:
        path = "/Identification_Request"
        return self._connection.ask_json("POST", path, data=fields, files=files)


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return run(sys.argv[1:])
    arguments = _parser().parse_args()
    recordings: list[Path] = arguments.recordings or [SAMPLE]
    failures = 0
    with SpeakerClient(arguments.server, arguments.timeout) as client:
        bar = tqdm(recordings, unit="file", disable=None if len(recordings) > 1 else True)
        for recording in bar:
            try:
                answer = client.identify(
                    recording,
                    upload=not arguments.path,
                    re_register=arguments.re_register,
                    register=not arguments.ask_only,
                    add=arguments.add,
                )
            except (RequestFailed, OSError) as error:
                failures += 1
                with bar.external_write_mode(sys.stderr):
                    print(f"{recording}: {error}", file=sys.stderr)
                continue
            with bar.external_write_mode(sys.stdout):
                print(_as_json(recording, answer) if arguments.json else _as_text(answer))
    return 1 if failures else 0


def _as_json(recording: Path, answer: dict[str, Any]) -> str:
    return json.dumps({"file": str(recording), **answer}, ensure_ascii=False)


def _as_text(answer: dict[str, Any]) -> str:
    line = json.dumps({"100001": answer["100001"]}, ensure_ascii=False)
    total_ms = answer["timings_ms"]["total"]
    verdict = answer["verdict"]
    said = f", {verdict['outcome']}, probability {verdict['probability']:.2f}" if verdict else ""
    return f"{line}  {answer['decision']}{said}, score {answer['score']:.3f}, {total_ms:.1f} ms"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="Request.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recordings", nargs="*", type=Path, metavar="FILE", help="named <speaker ID>-<number>.mp4"
    )
    parser.add_argument("--server", default=SERVER, help="default: %(default)s")
    parser.add_argument(
        "--re-register", action="store_true", help="replace what is enrolled under this ID"
    )
    parser.add_argument(
        "--add", action="store_true", help="let this recording join those under its ID"
    )
    parser.add_argument(
        "--ask-only", action="store_true", help="only identify: enrol nobody who is not known"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--upload", action="store_true", help="send the file itself (the default)")
    way.add_argument(
        "--path", action="store_true", help="send only its name and folder, for the server to open"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for an answer")
    parser.add_argument("--json", action="store_true", help="print whole answers, one a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
