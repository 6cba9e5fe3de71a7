"""Questions about one recording, which enrol nobody."""

from __future__ import annotations

from itertools import zip_longest
from typing import Annotated, Any

from flask import g
from flask_openapi.blueprint import APIBlueprint
from pydantic import ConfigDict, Field, model_validator

from utils.errors import BadField, NotAllowed
from utils.hearing import voice_of
from utils.identification import Identifier
from utils.questions import Asked, Comparison, Identification, Verification
from web.answers import LIVENESS, candidates_json, quality_json, verdict_json
from web.decided import note
from web.v1.bodies import Body, Clip, described, read_body
from web.v1.common import current_identifier, make_blueprint
from web.v1.schemas import ComparisonOut, EmbeddingOut, IdentificationOut, VerificationOut

EMBEDDING_SIZE = 64
MOST_CANDIDATES = 500  # a form has at most 1,000 parts
Number = Annotated[float, Field(allow_inf_nan=False)]


class Voiced(Body):
    """A voice: a recording of it, or the embedding of one."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["audio"]}, {"required": ["embedding"]}]}
    )

    audio: Clip = None
    embedding: list[Number] | None = Field(
        None,
        min_length=EMBEDDING_SIZE,
        max_length=EMBEDDING_SIZE,
        description="as /v1/embed gave it, in the place of audio",
    )
    speech_s: float | None = Field(
        None, gt=0, le=86_400, description="seconds of speech that the embedding is of"
    )
    model_id: str | None = Field(
        None, description="of the network that made the embedding; another than ours is refused"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Voiced:
        if (self.embedding is None) == (self.audio is None):
            raise ValueError("send either audio or embedding")
        return self

    def asked(self, identifier: Identifier) -> Asked:
        """What to ask about.

        Raises:
            BadField: the embedding is none, or of another network.
            NotAllowed: an ordinary key sends an embedding: whoever may move 64 numbers freely
                climbs to somebody's voice in some hundred exact scores (`reliability/climb.py`).
        """
        if self.embedding is None:
            source: Asked = self.audio
            return source
        if g.get("role", "admin") != "admin":
            raise NotAllowed("An embedding takes an admin key; send the recording.")
        ours = identifier.engine.model_id
        if self.model_id not in {None, ours}:
            raise BadField(
                f"model_id is of another network than {ours}, which is served; embed the "
                "recording again."
            )
        return voice_of(self.embedding, self.speech_s)


class IdentifyBody(Voiced):
    candidates: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MOST_CANDIDATES,
        description="IDs of the speakers who may be meant; everybody if none are given",
    )
    top_k: int = Field(5, ge=1, le=50, description="how many of the nearest speakers to name")


class VerifyBody(Voiced):
    speaker_id: str = Field(description="who it is said to be")


class EmbedBody(Body):
    audio: Clip


class CompareBody(Body):
    first: Clip
    second: Clip


def make_questions_routes() -> APIBlueprint:
    routes = make_blueprint("questions", "Who is it? Nobody is enrolled by asking.")

    @routes.post(
        "/identify", request_body=described(IdentifyBody), responses={200: IdentificationOut}
    )
    def identify() -> dict[str, Any]:
        """Who of the enrolled speakers is it?

        `speaker_id` is null unless the verdict is `accepted`.
        """
        body = read_body(IdentifyBody)
        identifier = current_identifier()
        found = identifier.identify(
            body.asked(identifier), candidates=body.candidates, top_k=body.top_k
        )
        note_identification(found)
        return identification_json(found)

    @routes.post("/verify", request_body=described(VerifyBody), responses={200: VerificationOut})
    def verify() -> dict[str, Any]:
        """Is it this speaker?"""
        body = read_body(VerifyBody)
        identifier = current_identifier()
        return verification_json(identifier.verify(body.asked(identifier), body.speaker_id))

    @routes.post("/embed", request_body=described(EmbedBody), responses={200: EmbeddingOut})
    def embed() -> dict[str, Any]:
        """The embedding of a recording, to ask about it later without the sound."""
        body = read_body(EmbedBody)
        identifier = current_identifier()
        hearing = identifier.embed(body.audio)
        return {
            "embedding": hearing.embedding,
            "model_id": identifier.engine.model_id,
            "quality": quality_json(hearing.quality, hearing.has_two_voices),
        }

    @routes.post("/compare", request_body=described(CompareBody), responses={200: ComparisonOut})
    def compare() -> dict[str, Any]:
        """Are two recordings of one voice? Nobody need be enrolled."""
        body = read_body(CompareBody)
        return comparison_json(current_identifier().compare(body.first, body.second))

    return routes


def verification_json(found: Verification) -> dict[str, Any]:
    """As `VerificationOut` has it."""
    verdict, quality = verdict_json(found.verdict), found.quality
    note("verified", found.outcome, found.timings_ms)
    return {
        "speaker_id": found.speaker_id,
        "outcome": found.outcome,
        "score": round(found.score, 6),
        **{name: verdict[name] for name in ("llr", "probability", "stranger_chance")},
        "more_speech_s": verdict["more_speech_s"],
        "quality": quality_json(quality, bool(found.has_two_voices)) if quality else None,
        "liveness": LIVENESS,
        "timings_ms": found.timings_ms,
    }


def comparison_json(found: Comparison) -> dict[str, Any]:
    """As `ComparisonOut` has it."""
    verdict = verdict_json(found.verdict)
    note("compared", found.outcome, found.timings_ms)
    return {
        "outcome": found.outcome,
        "score": round(found.score, 6),
        **{name: verdict[name] for name in ("llr", "probability", "stranger_chance")},
        "first": quality_json(found.first.quality, found.first.has_two_voices),
        "second": quality_json(found.second.quality, found.second.has_two_voices),
        "timings_ms": found.timings_ms,
    }


def identification_json(found: Identification) -> dict[str, Any]:
    """As `IdentificationOut` has it."""
    quality, of_two = found.quality, found.has_two_voices
    return {
        "speaker_id": found.speaker_id,
        "candidates": [
            {**each, "probability": None if share is None else round(share, 4)}
            for each, share in zip_longest(
                candidates_json(found.candidates),
                found.verdict.probabilities[: len(found.candidates)],
            )
        ],
        "verdict": verdict_json(found.verdict),
        "quality": quality_json(quality, bool(of_two)) if quality else None,
        "liveness": LIVENESS,
        "timings_ms": found.timings_ms,
    }


def note_identification(found: Identification) -> None:
    """Tells the log and the metrics of it."""
    note(
        "identified",
        found.verdict.outcome,
        found.timings_ms,
        speech_s=found.quality.speech_s if found.quality else None,
        score=found.candidates[0].score,
        verdict=found.verdict,
    )
