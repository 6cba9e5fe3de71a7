"""The client: asks a speaker-identification server who is speaking in a recording.

    python Request.py                                   send a sample recording
    python Request.py hong@example.org-0.mp4 ...        send these
    python Request.py --path data/ast1@example.org-1.mp4    name a file that the server can read

Importable, and independent of the rest of this folder: `SpeakerClient(server).identify(path)`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util.retry import Retry

SERVER = "http://127.0.0.1:5000"
SAMPLE = Path(__file__).parent / "data" / "ast1@example.org-0.mp4"


class RequestFailed(Exception):
    """The server refused, or could not be reached; the message says why."""


class SpeakerClient:
    """One server, over one kept-open connection. Not to be shared between threads."""

    def __init__(self, server: str = SERVER, timeout_s: float = 60.0) -> None:
        self.url = server.rstrip("/") + "/Identification_Request"
        self.timeout_s = timeout_s
        self._session = requests.Session()
        # a connection that was refused carried no request, so trying again is safe
        retry = Retry(total=None, connect=3, read=0, status=0, other=0, backoff_factor=0.3)
        self._session.mount("http://", HTTPAdapter(max_retries=retry))
        self._session.mount("https://", HTTPAdapter(max_retries=retry))

    def __enter__(self) -> SpeakerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

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
        try:
            reply = self._session.post(self.url, data=fields, files=files, timeout=self.timeout_s)
        except requests.ConnectionError as error:
            raise RequestFailed(
                f"no answer from {self.url}; is the server running? (make serve)"
            ) from error
        except requests.RequestException as error:
            raise RequestFailed(f"{self.url}: {error}") from error
        try:
            answer: dict[str, Any] = reply.json()
        except ValueError as error:
            raise RequestFailed(f"{self.url} answered {reply.status_code} without JSON") from error
        if not reply.ok:
            title, detail = answer.get("title"), answer.get("detail")
            raise RequestFailed(f"{reply.status_code} {title}: {detail}")
        return answer


def main() -> int:
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
