"""A running answer over a WebSocket while somebody speaks.

    client                                         server
    {"type": "start", "format": "pcm_s16le",
     "sample_rate": 16000}
    sound, as binary messages                      {"type": "waiting", "speech_s": 0.4, ...}
                                                   {"type": "answer", "final": false, ...}
    {"type": "end"}                                {"type": "answer", "final": true, ...}

A failure is {"type": "error"} with what a problem has, and the end of the session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from flask import Flask, current_app, json
from flask_sock import Sock
from pydantic import Field, ValidationError
from simple_websocket import ConnectionClosed, Server

from utils.errors import BadField, NotReady, Overloaded, SpeakerServerError, TooSlow
from utils.live import EVERY_S, MAX_SECONDS, RATES_HZ, Format, Live, Waiting
from web.coarse import coarsen, is_exact
from web.problems import bad_field, problem_body
from web.v1.bodies import Body
from web.v1.common import current_identifier
from web.v1.questions import MOST_CANDIDATES, identification_json, note_identification

PROTOCOL = "speaker"  # a browser may send a key beside it, as the protocol "key.KEY"
MAX_MESSAGE = 256 * 1024
IDLE_S = 10.0  # without a message from the client
LONGEST_S = 3 * MAX_SECONDS  # of a session, however slow its sound comes
TRY_AGAIN_LATER, GOING_AWAY, POLICY = 1013, 1001, 1008  # RFC 6455, section 7.4


class Start(Body):
    type: Literal["start"]
    format: Format
    sample_rate: int = Field(16_000, ge=RATES_HZ[0], le=RATES_HZ[-1])
    candidates: list[str] | None = Field(None, min_length=1, max_length=MOST_CANDIDATES)
    top_k: int = Field(5, ge=1, le=50)


def answer_live(app: Flask, most: int) -> None:
    """Has an application answer `/v1/live`, for so many people at once."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "subprotocols": [PROTOCOL],
        "max_message_size": MAX_MESSAGE,
    }
    seats = threading.BoundedSemaphore(most)

    @Sock(app).route("/v1/live")  # type: ignore[untyped-decorator] # flask-sock has no types
    def live(socket: Server) -> None:
        """Who is it, while they speak?"""
        if not seats.acquire(blocking=False):
            socket.receive(timeout=IDLE_S)  # a client may not listen before it has begun
            error = NotReady(f"{most} people are listened to already; try again later.")
            _refuse(socket, error, TRY_AGAIN_LATER)
            return
        try:
            _Session(socket, _stopping()).run()
        except Overloaded as error:
            _refuse(socket, error, TRY_AGAIN_LATER)
        except SpeakerServerError as error:
            _refuse(socket, error, POLICY)
        finally:
            seats.release()


def _stopping() -> Callable[[], bool]:
    """Whether the server was told to stop; `app.py` says so of its own processes."""
    stopping: Callable[[], bool] = current_app.extensions.get("is_stopping", lambda: False)
    return stopping


class _Session:
    def __init__(self, socket: Server, is_stopping: Callable[[], bool]) -> None:
        self._socket = socket
        self._is_stopping = is_stopping
        self._started = self._heard = time.monotonic()

    def run(self) -> None:
        listener = self._begin()
        answered_at, answered_s = time.monotonic(), 0.0
        is_changed = False
        while True:
            message = self._receive()
            if isinstance(message, str):
                _require_end(message)
                break
            if message:
                listener.add(message)
                is_changed = True
            held = listener.held_s
            passed = time.monotonic() - answered_at if held is None else held - answered_s
            if is_changed and passed >= EVERY_S:
                self._tell(listener, is_last=False)
                answered_at, answered_s, is_changed = time.monotonic(), held or 0.0, False
            if self._is_stopping():
                self._tell(listener, is_last=True)
                self._socket.close(GOING_AWAY, "the server stops")
                return
        self._tell(listener, is_last=True)

    def _begin(self) -> Live:
        message = self._receive()
        while message is None and not self._is_stopping():
            message = self._receive()
        try:
            if not isinstance(message, str):
                raise BadField('Begin with {"type": "start", "format": ...} as text.')
            start = Start.model_validate_json(message)
        except ValidationError as error:
            raise bad_field(error) from None
        return Live(
            current_identifier(),
            start.format,
            start.sample_rate,
            candidates=start.candidates,
            top_k=start.top_k,
        )

    def _receive(self) -> str | bytes | None:
        """The next message; None where none came for a moment.

        Raises:
            TooSlow: nothing came for long, or the session has lasted long enough.
        """
        message: str | bytes | None = self._socket.receive(timeout=EVERY_S)
        now = time.monotonic()
        if message is not None:
            self._heard = now
        if now - self._heard > IDLE_S or now - self._started > LONGEST_S:
            raise TooSlow(
                f"Nothing was sent for {IDLE_S:.0f} s, or a session lasted more than "
                f"{LONGEST_S:.0f} s; begin anew."
            )
        return message

    def _tell(self, listener: Live, *, is_last: bool) -> None:
        try:
            found = listener.answer(is_last=is_last)
        except Overloaded:
            if is_last:
                raise
            return  # the next answer will have heard more
        if isinstance(found, Waiting):
            told: dict[str, Any] = {
                "type": "waiting",
                "speech_s": round(found.speech_s, 2),
                "needed_s": found.needed_s,
                "reason": found.reason,
            }
        else:
            if is_last:
                note_identification(found)
            told = {"type": "answer", "final": is_last, **identification_json(found)}
        told["seconds"] = round(listener.seconds, 2)
        _send(self._socket, told if is_exact() else coarsen(told))


def _require_end(message: str) -> None:
    try:
        told = json.loads(message)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("type") != "end":
        raise BadField('After the start only sound and {"type": "end"} are taken.')


def _refuse(socket: Server, error: SpeakerServerError, code: int) -> None:
    body = problem_body(error.status, error.title, str(error))
    _send(socket, {**body, "type": "error", "problem": body["type"]})
    socket.close(code, error.title)


def _send(socket: Server, told: Mapping[str, Any]) -> None:
    """Raises ConnectionClosed, as everything about a client does who has left."""
    try:
        socket.send(json.dumps(told))
    except OSError as error:
        raise ConnectionClosed from error
