"""Requests that come whatever became of those before: more of them than can be answered."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

from reliability.traffic import NO_ANSWER, Ledger

PATIENCE_S = 20.0  # after which a client goes away
MOST_OPEN = 8_000  # connections at once; the system lends no more than some thousand ports a minute


async def flood(
    url: str,
    ledger: Ledger,
    clips: list[bytes],
    rate: float,
    seconds: float,
    is_over: threading.Event,
) -> float:
    """Sends so many requests a second, four of five to identify, one to enrol somebody new.

    Args:
        clips: each may be enrolled.
        is_over: set when the last one is sent; those that wait are still waited for.

    Returns:
        How many a second were really sent.
    """
    begin = time.monotonic()
    open_now: set[asyncio.Task[None]] = set()
    sent = 0
    try:
        for number, (what, speaker_id, request) in enumerate(_requests(url, clips)):
            due = begin + number / rate
            if due >= begin + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(open_now) < MOST_OPEN:
                sent += 1
                task = asyncio.create_task(_send(url, ledger, what, speaker_id, request))
                open_now.add(task)
                task.add_done_callback(open_now.discard)
        elapsed = time.monotonic() - begin
    finally:
        is_over.set()
    await asyncio.gather(*open_now)
    return sent / elapsed


def _requests(url: str, clips: list[bytes]) -> Iterator[tuple[str, str, bytes]]:
    random = Random(0)  # noqa: S311
    host = urlsplit(url).netloc
    for number in itertools.count():
        clip = ("clip.mp4", random.choice(clips))
        speaker_id = f"one of many {number}"
        what, path = ("identify", "/v1/identify") if number % 5 else ("enrol", "/v1/speakers")
        said = {"speaker_id": speaker_id} if what == "enrol" else {}
        body, kind = encode_multipart_formdata({"audio": clip, **said})
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield what, speaker_id, head.encode() + body


async def _send(url: str, ledger: Ledger, what: str, speaker_id: str, request: bytes) -> None:
    status = NO_ANSWER
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE_S):
            address = urlsplit(url)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            with suppress(OSError):
                writer.write(request)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
            writer.close()
    ledger.statuses[what, status] += 1
    if what == "enrol":
        ledger.note_enrolment(speaker_id, status)
