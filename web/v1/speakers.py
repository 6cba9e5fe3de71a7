"""Who is enrolled: enrol, list, look at, change, delete."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

from flask import Response, make_response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from utils.enrolment import Enrolled
from utils.errors import BadField, NotAllowed
from utils.gallery import Consent, Profile, SpeakerRecord
from utils.gallery.profile import read_profile
from web.access import may
from web.answers import LIVENESS, quality_json
from web.decided import note
from web.v1.bodies import Body, Clip, described, read_body
from web.v1.common import current_identifier, make_blueprint
from web.v1.receipts import ReceiptOut
from web.v1.schemas import EnrolledOut, SpeakerOut, SpeakersOut

MOST_FILES = 10


class SpeakerPath(BaseModel):
    speaker_id: str


class RecordingPath(SpeakerPath):
    number: str


class ListQuery(BaseModel):
    query: str = Field("", max_length=128, description="a part of the ID, whatever its case")
    offset: int = Field(0, ge=0, le=10**9, description="speakers that are passed over")
    limit: int = Field(100, ge=1, le=1000, description="speakers of a page")


class RecordingsBody(Body):
    audio: list[Clip] = Field(min_length=1, max_length=MOST_FILES)


class SpeakerBody(RecordingsBody):
    speaker_id: str = Field(description="1 to 128 characters of any script, no / or \\")
    metadata: str | dict[str, Any] = Field(
        "{}", description="an object of text, numbers, true or false; in a form as JSON text"
    )
    consent_given_by: str | None = Field(None, description="who agreed that the voice is kept")
    consent_given_at: str | None = Field(None, description="a date, or a date and time")
    consent_until: str | None = Field(None, description="from then on it does not answer any more")

    def profile(self) -> Profile | None:
        """What it says beside the voice; None where that is nothing.

        Raises:
            BadField: metadata that are none, or half a consent.
        """
        consent = None
        if self.consent_given_by is not None and self.consent_given_at is not None:
            consent = Consent(self.consent_given_by, self.consent_given_at, self.consent_until)
        elif {self.consent_given_by, self.consent_given_at, self.consent_until} != {None}:
            raise BadField("A consent has both consent_given_by and consent_given_at; send both.")
        profile = replace(_metadata(self.metadata), consent=consent)
        return None if profile.is_empty else profile


class ChangesBody(Body):
    speaker_id: str | None = Field(None, description="the new ID")
    metadata: dict[str, Any] | None = Field(None, description="in the place of what there is")
    consent: dict[str, Any] | None = Field(
        None,
        description="given_by, given_at and until, in the place of what there is; null: none noted",
    )


def make_speakers_routes() -> APIBlueprint:
    routes = make_blueprint("speakers", "Who is enrolled, with what, and for how long.")

    @routes.get("/speakers", responses={"200": SpeakersOut})
    def list_speakers(query: ListQuery) -> dict[str, Any]:
        """Who is enrolled? In the order of IDs, page by page."""
        gallery = current_identifier().gallery
        page, total = gallery.speakers(query.query, query.offset, query.limit)
        return {
            "speakers": [speaker_json(one) for one in page],
            "total": total,
            "offset": query.offset,
            "limit": query.limit,
        }

    @routes.post("/speakers", request_body=described(SpeakerBody), responses={"201": EnrolledOut})
    def enrol_speaker() -> Response:
        """Enrols a new speaker with one or more recordings: all of them or none."""
        body = read_body(SpeakerBody)
        sources = [(clip, None) for clip in body.audio]
        enrolled = current_identifier().enrol(body.speaker_id, sources, "register", body.profile())
        response = make_response(enrolled_json(enrolled), 201)
        response.headers["Location"] = f"/v1/speakers/{quote(enrolled.speaker.speaker_id, safe='')}"
        return response

    @routes.get("/speakers/<speaker_id>", responses={"200": SpeakerOut})
    def show_speaker(path: SpeakerPath) -> dict[str, Any]:
        """All that is known of a speaker."""
        return speaker_json(current_identifier().gallery.speaker(path.speaker_id))

    @routes.patch(
        "/speakers/<speaker_id>",
        request_body=described(ChangesBody),
        responses={"200": SpeakerOut},
    )
    def change_speaker(path: SpeakerPath) -> dict[str, Any]:
        """Gives a speaker other metadata, another consent, or another ID.

        A field that is left out stays as it is. Another ID needs an admin key.
        """
        body = read_body(ChangesBody)
        gallery = current_identifier().gallery
        if body.speaker_id is not None and not may("admin"):
            raise NotAllowed("Another ID needs an admin key.")
        now = gallery.speaker(path.speaker_id)
        profile = body_profile(body, now.profile)
        if profile != now.profile:
            gallery.set_profile(now.speaker_id, profile)
        if body.speaker_id is not None:
            gallery.rename(now.speaker_id, body.speaker_id)
        return speaker_json(gallery.speaker(body.speaker_id or now.speaker_id))

    @routes.delete("/speakers/<speaker_id>", responses={"200": ReceiptOut})
    def delete_speaker(path: SpeakerPath) -> dict[str, Any]:
        """Removes all there is of a speaker, and says what that was."""
        return asdict(current_identifier().gallery.delete(path.speaker_id))

    @routes.post(
        "/speakers/<speaker_id>/recordings",
        request_body=described(RecordingsBody),
        responses={"200": EnrolledOut},
    )
    def add_recordings(path: SpeakerPath) -> dict[str, Any]:
        """Adds recordings to those that answer for a speaker, up to `--max-recordings`."""
        sources = [(clip, None) for clip in read_body(RecordingsBody).audio]
        return enrolled_json(current_identifier().enrol(path.speaker_id, sources, "add"))

    @routes.put(
        "/speakers/<speaker_id>/recordings",
        request_body=described(RecordingsBody),
        responses={"200": EnrolledOut},
    )
    def replace_recordings(path: SpeakerPath) -> dict[str, Any]:
        """Registers a speaker anew: these recordings answer, and no others."""
        identifier = current_identifier()
        sources = [(clip, None) for clip in read_body(RecordingsBody).audio]
        speaker_id = identifier.gallery.speaker(path.speaker_id).speaker_id
        return enrolled_json(identifier.enrol(speaker_id, sources, "replace"))

    @routes.delete("/speakers/<speaker_id>/recordings/<number>", responses={"200": ReceiptOut})
    def delete_recording(path: RecordingPath) -> dict[str, Any]:
        """Removes one of a speaker's recordings; not the last one."""
        gallery = current_identifier().gallery
        return asdict(gallery.remove_recording(path.speaker_id, path.number))

    return routes


def speaker_json(record: SpeakerRecord) -> dict[str, Any]:
    """As `SpeakerOut` has it."""
    consent = record.profile.consent
    return {
        "speaker_id": record.speaker_id,
        "recordings": [
            {
                "number": one.number,
                "enrolled_at": one.enrolled_at,
                "speech_s": _rounded(one.speech_s),
                "model_id": one.model_id,
                "calibration_id": one.calibration_id,
            }
            for one in record.recordings
        ],
        "speech_s": _rounded(record.speech_s),
        "enrolled_at": record.enrolled_at,
        "updated_at": record.updated_at,
        "metadata": record.profile.metadata,
        "consent": asdict(consent) if consent else None,
        "is_expired": record.is_expired,
    }


def enrolled_json(enrolled: Enrolled) -> dict[str, Any]:
    """As `EnrolledOut` has it."""
    note("enrolled", None, enrolled.timings_ms, speech_s=enrolled.speaker.speech_s)
    return {
        **speaker_json(enrolled.speaker),
        "heard": [quality_json(one.quality, one.has_two_voices) for one in enrolled.heard],
        "duplicate_of": enrolled.duplicate_of,
        "matches_before": enrolled.matches_before,
        "liveness": LIVENESS,
        "timings_ms": enrolled.timings_ms,
    }


def body_profile(body: ChangesBody, now: Profile) -> Profile:
    """What is known of a speaker once the changes are made."""
    if body.metadata is not None:
        now = replace(now, metadata=_metadata(body.metadata).metadata)
    if "consent" in body.model_fields_set:
        now = replace(now, consent=read_profile({"consent": body.consent}).consent)
    return now


def _metadata(value: str | dict[str, Any]) -> Profile:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadField('metadata is no JSON; send an object, as {"site": "Seoul"}.') from error
    return read_profile({"metadata": value})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
