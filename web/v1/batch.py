"""Many recordings in one request, answered one by one as they are done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from flask import Response, json, request, stream_with_context
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field
from werkzeug.datastructures import FileStorage

from utils.errors import SpeakerServerError
from utils.identification import Identifier
from web.coarse import coarsen, is_exact
from web.problems import INTERNAL, problem_body
from web.v1.bodies import Body, Clip, described, read_body
from web.v1.common import current_identifier, make_blueprint
from web.v1.questions import MOST_CANDIDATES, identification_json, note_identification

MOST_FILES = 100
NDJSON = "application/x-ndjson"
LINES = {
    "description": "A line a recording: an object with `file`, `status` and, if that is 200, what "
    "/v1/identify answers (`IdentificationOut`), else what a problem has (`Problem`)",
    "content": {NDJSON: {"schema": {"type": "string"}}},
}

log = logging.getLogger(__name__)


class BatchBody(Body):
    audio: list[Clip] = Field(min_length=1, max_length=MOST_FILES)
    candidates: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MOST_CANDIDATES,
        description="IDs of the speakers who may be meant; everybody if none are given",
    )
    top_k: int = Field(5, ge=1, le=50, description="how many of the nearest speakers to name")


def make_batch_routes() -> APIBlueprint:
    routes = make_blueprint("batch", "Many recordings at once.")

    @routes.post("/identify/batch", request_body=described(BatchBody), responses={"200": LINES})
    def identify_batch() -> Response:
        """Who is it, of each of many recordings?

        The answers come as they are done, in the order of the recordings. One that cannot be
        answered costs its own line only.
        """
        body = read_body(BatchBody)
        uploads = _kept_open()
        names = [upload.filename or "" for upload in uploads]
        names += [""] * (len(body.audio) - len(names))  # in JSON they have none
        lines = _lines(current_identifier(), body, names)
        answer = Response(stream_with_context(lines), mimetype=NDJSON)
        for upload in uploads:
            answer.call_on_close(upload.close)
        return answer

    return routes


def _kept_open() -> list[FileStorage]:
    """This request's recordings, which the request does not close when the answer begins."""
    uploads = request.files.getlist("audio")
    if uploads:
        del request.files  # what a request still has when it ends, it closes
    return uploads


def _lines(identifier: Identifier, body: BatchBody, names: list[str]) -> Iterator[str]:
    for place, (audio, name) in enumerate(zip(body.audio, names, strict=True)):
        told = {"file": name or str(place), **_answer(identifier, body, audio)}
        yield json.dumps(told if is_exact() else coarsen(told)) + "\n"


def _answer(identifier: Identifier, body: BatchBody, audio: Any) -> dict[str, Any]:
    try:
        found = identifier.identify(audio, candidates=body.candidates, top_k=body.top_k)
    except SpeakerServerError as error:
        return problem_body(error.status, error.title, str(error))
    except Exception as error:
        log.error("A recording of a batch failed by a fault of the server.", exc_info=error)
        return problem_body(*INTERNAL)
    note_identification(found)
    return {"status": 200, **identification_json(found)}
