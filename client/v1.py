"""Everything that can be asked under /v1, a method a call; docs/api.md says what each answers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from client.connection import SERVER, Connection, RequestFailed

LIVE_PIECE_S = 0.1


class V1Client:
    """One server. Not to be shared between threads.

    Every method raises `RequestFailed` where the server refuses or cannot be reached, and OSError
    where a recording cannot be read.

    Example:
        with V1Client(key="sis_...") as client:
            client.enrol("hong@example.org", [Path("hong.mp4")])
            print(client.identify(Path("who.mp4"))["speaker_id"])
    """

    def __init__(
        self,
        server: str = SERVER,
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.connection = Connection(server, key=key, collection=collection, timeout_s=timeout_s)

    def __enter__(self) -> V1Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    # Questions

    def identify(
        self, recording: Path, *, candidates: Sequence[str] = (), top_k: int = 5
    ) -> dict[str, Any]:
        """Who is it? `speaker_id` is None unless it is somebody beyond doubt."""
        fields = {"candidates": list(candidates), "top_k": top_k}
        return self._send("POST", "/v1/identify", {"audio": [recording]}, fields)

    def identify_embedding(
        self, embedding: Sequence[float], *, speech_s: float | None = None, top_k: int = 5
    ) -> dict[str, Any]:
        """The same of what `embed` gave."""
        body = {"embedding": list(embedding), "speech_s": speech_s, "top_k": top_k}
        return self.connection.ask_json("POST", "/v1/identify", json=body)

    def identify_many(self, recordings: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Who is it, of each? An answer as soon as it is there; `status` says if it is one."""
        with ExitStack() as files:
            opened = [("audio", (each.name, files.enter_context(each.open("rb"))))
                      for each in recordings]  # fmt: skip
            reply = self.connection.ask("POST", "/v1/identify/batch", files=opened, stream=True)
            with contextlib.closing(reply):
                for line in reply.iter_lines():
                    yield json.loads(line)

    def verify(self, recording: Path, speaker_id: str) -> dict[str, Any]:
        """Is it this speaker? `outcome` is accepted, inconclusive or rejected."""
        return self._send("POST", "/v1/verify", {"audio": [recording]}, {"speaker_id": speaker_id})

    def compare(self, first: Path, second: Path) -> dict[str, Any]:
        """Are two recordings of one voice? `outcome` is same, inconclusive or different."""
        return self._send("POST", "/v1/compare", {"first": [first], "second": [second]})

    def embed(self, recording: Path) -> dict[str, Any]:
        """The recording's embedding, 64 numbers."""
        return self._send("POST", "/v1/embed", {"audio": [recording]})

    def segments(self, recording: Path) -> dict[str, Any]:
        """Who spoke when?"""
        return self._send("POST", "/v1/segments", {"audio": [recording]})

    def rttm(self, recording: Path) -> str:
        """The same as NIST's Rich Transcription Time Marked text."""
        with recording.open("rb") as file:
            files = {"audio": (recording.name, file)}
            params = {"format": "rttm"}
            return self.connection.ask("POST", "/v1/segments", params, files=files).text

    def live(
        self, pcm: bytes, sample_rate: int = 16_000, *, in_real_time: bool = True
    ) -> Iterator[dict[str, Any]]:
        """A running answer while sound is sent, as from a microphone.

        Args:
            pcm: mono samples of 16 bits.
            in_real_time: whether a second of sound takes a second.
        """
        from simple_websocket import Client, ConnectionClosed

        url = f"{self.connection.server.replace('http', 'ws', 1)}/v1/live"
        key = self.connection.key
        try:
            socket = Client(url, headers={"Authorization": f"Bearer {key}"} if key else {})
        except OSError as error:
            raise RequestFailed(f"no live answer from {url}: {error}") from error
        start = {"type": "start", "format": "pcm_s16le", "sample_rate": sample_rate}
        try:
            with contextlib.suppress(ConnectionClosed, OSError):  # it may say no before the end
                socket.send(json.dumps(start))
                size = 2 * int(sample_rate * LIVE_PIECE_S)
                for at in range(0, len(pcm), size):
                    socket.send(pcm[at : at + size])
                    while (message := socket.receive(timeout=0)) is not None:
                        yield _told(message)
                    time.sleep(LIVE_PIECE_S if in_real_time else 0)
                socket.send(json.dumps({"type": "end"}))
            while (message := socket.receive(timeout=self.connection.timeout_s)) is not None:
                yield _told(message)
        except ConnectionClosed:
            return
        finally:
            with contextlib.suppress(ConnectionClosed, OSError):
                socket.close()
            socket.sock.close()

    # Speakers

    def enrol(
        self,
        speaker_id: str,
        recordings: Sequence[Path],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Enrols a new speaker; `consent` has given_by, given_at and, if it ends, until."""
        fields = {
            "speaker_id": speaker_id,
            "metadata": json.dumps(dict(metadata or {})),
            **{f"consent_{name}": value for name, value in (consent or {}).items()},
        }
        return self._send("POST", "/v1/speakers", {"audio": recordings}, fields)

    def add(self, speaker_id: str, recordings: Sequence[Path]) -> dict[str, Any]:
        """Adds recordings to those that answer for a speaker."""
        return self._send("POST", f"{_path(speaker_id)}/recordings", {"audio": recordings})

    def replace(self, speaker_id: str, recordings: Sequence[Path]) -> dict[str, Any]:
        """Registers a speaker anew: these recordings answer, and no others."""
        return self._send("PUT", f"{_path(speaker_id)}/recordings", {"audio": recordings})

    def speaker(self, speaker_id: str) -> dict[str, Any]:
        return self.connection.ask_json("GET", _path(speaker_id))

    def speakers(self, query: str = "") -> Iterator[dict[str, Any]]:
        """Everybody whose ID holds this text, in order, page by page."""
        offset = 0
        while True:
            params = {"query": query, "offset": offset, "limit": 1000}
            page = self.connection.ask_json("GET", "/v1/speakers", params)
            yield from page["speakers"]
            offset += len(page["speakers"])
            if not page["speakers"] or offset >= page["total"]:
                return

    def change(self, speaker_id: str, /, **changes: Any) -> dict[str, Any]:
        """Gives a speaker other `metadata`, another `consent`, or another `speaker_id`."""
        return self.connection.ask_json("PATCH", _path(speaker_id), json=changes)

    def delete(self, speaker_id: str) -> dict[str, Any]:
        """Removes all there is of a speaker; gives the receipt."""
        return self.connection.ask_json("DELETE", _path(speaker_id))

    def delete_recording(self, speaker_id: str, number: str) -> dict[str, Any]:
        return self.connection.ask_json("DELETE", f"{_path(speaker_id)}/recordings/{number}")

    # The whole gallery

    def gallery(self) -> dict[str, Any]:
        return self.connection.ask_json("GET", "/v1/gallery")

    def look_alikes(self, limit: int = 20) -> list[dict[str, Any]]:
        pairs: list[dict[str, Any]] = self.connection.ask_json(
            "GET", "/v1/gallery/look-alikes", {"limit": limit}
        )["pairs"]
        return pairs

    def export(self, target: Path) -> int:
        """Writes the whole collection into an archive; gives its bytes."""
        reply = self.connection.ask("GET", "/v1/gallery/export", stream=True)
        beside = target.with_name(target.name + ".part")
        with contextlib.closing(reply), beside.open("wb") as file:
            for block in reply.iter_content(1 << 20):
                file.write(block)
        beside.replace(target)
        return target.stat().st_size

    def import_(
        self, archive: Path, on_conflict: Literal["refuse", "skip", "replace"] = "refuse"
    ) -> dict[str, Any]:
        """Enrols everybody of an archive."""
        fields = {"on_conflict": on_conflict}
        return self._send("POST", "/v1/gallery/import", {"archive": [archive]}, fields)

    def purge(self) -> list[dict[str, Any]]:
        """Deletes everybody whose consent has ended; gives the receipts."""
        receipts: list[dict[str, Any]] = self.connection.ask_json("POST", "/v1/gallery/purge")[
            "receipts"
        ]
        return receipts

    def ready(self) -> dict[str, Any]:
        return self.connection.ask_json("GET", "/readyz")

    def _send(
        self,
        method: str,
        path: str,
        recordings: Mapping[str, Sequence[Path]],
        fields: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        with ExitStack() as opened:
            files = [
                (name, (each.name, opened.enter_context(each.open("rb"))))
                for name, paths in recordings.items()
                for each in paths
            ]
            return self.connection.ask_json(method, path, data=dict(fields or {}), files=files)


def _path(speaker_id: str) -> str:
    return f"/v1/speakers/{quote(speaker_id, safe='')}"


def _told(message: str | bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(message)
    if told["type"] == "error":
        raise RequestFailed(
            f"{told['status']} {told['title']}: {told['detail']}", told["status"], told["title"]
        )
    return told
