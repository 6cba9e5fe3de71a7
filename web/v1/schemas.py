"""What the answers under /v1 hold, for the OpenAPI file and its readers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class CandidateOut(BaseModel):
    """A speaker that it may be."""

    speaker_id: str
    score: float = Field(ge=-1, le=1, description="cosine; the nearer to 1, the more alike")


class WeighedOut(CandidateOut):
    """A speaker that it may be, weighed against the others."""

    probability: float | None = Field(
        description="that it is them, where half of all callers are known; null beyond the fifth"
    )


class VerdictOut(BaseModel):
    """Whether the nearest speaker is to be believed."""

    outcome: Literal["accepted", "inconclusive", "unknown"] = Field(
        description="`accepted`: so alike are at most `--max-fpir` of strangers; `inconclusive`: "
        "not enough to say; `unknown`: a stranger, as far as can be heard"
    )
    probability: float = Field(description="that it is them, where half of all callers are known")
    stranger_chance: float = Field(description="share of strangers who would come as near")
    llr: float = Field(description="natural log-likelihood ratio")
    margin: float | None = Field(description="by how much the LLR is above the next speaker's")
    more_speech_s: float | None = Field(
        description="of an inconclusive one: seconds of speech expected to settle it"
    )


class QualityOut(BaseModel):
    """What the recording is good for."""

    speech_s: float = Field(description="seconds of speech, without pauses")
    total_s: float = Field(description="seconds of sound")
    snr_db: float | None = Field(description="speech over what is in the pauses")
    clipped_share: float = Field(description="of all samples, those cut off at full scale")
    two_voices: bool = Field(description="whether two people seem to speak")


class VerificationOut(BaseModel):
    """Whether it is the speaker it is said to be."""

    speaker_id: str
    outcome: Literal["accepted", "inconclusive", "rejected"] = Field(
        description="of other speakers and strangers, at most `--max-fpir` are accepted"
    )
    score: float = Field(ge=-1, le=1, description="cosine; the nearer to 1, the more alike")
    llr: float = Field(description="natural log-likelihood ratio")
    probability: float = Field(description="that it is them, where half of all callers are")
    stranger_chance: float = Field(description="share of strangers who would come as near")
    more_speech_s: float | None = Field(
        description="of an inconclusive one: seconds of speech expected to settle it"
    )
    quality: QualityOut | None = Field(description="null of an embedding")
    liveness: Literal["not checked"] = Field(
        description="replayed and synthetic voices are taken for real ones"
    )
    timings_ms: dict[str, float]


class ComparisonOut(BaseModel):
    """Whether two recordings are of one voice."""

    outcome: Literal["same", "inconclusive", "different"] = Field(
        description="of pairs of two people, at most `--max-fpir` are called the same"
    )
    score: float = Field(ge=-1, le=1, description="cosine; the nearer to 1, the more alike")
    llr: float = Field(description="natural log-likelihood ratio")
    probability: float = Field(description="of one voice, where half of all pairs are")
    stranger_chance: float = Field(description="share of pairs of two people as near")
    first: QualityOut
    second: QualityOut
    timings_ms: dict[str, float]


class EmbeddingOut(BaseModel):
    """What of a recording is compared; it is biometric data like the recording itself."""

    embedding: list[float] = Field(min_length=64, max_length=64, description="of length 1")
    model_id: str = Field(description="the network that made it; others' are not comparable")
    quality: QualityOut


class TurnOut(BaseModel):
    """Somebody speaks, without a longer pause."""

    start_s: float = Field(description="seconds from the beginning")
    end_s: float
    speaker: str = Field(description="the ID, or `unknown-1` and so on in order of appearance")
    speaker_id: str | None = Field(description="null of an unknown speaker")
    verdict: VerdictOut | None = Field(
        description="about the voice's nearest speaker; null of an empty gallery"
    )


class SegmentsOut(BaseModel):
    """Who spoke when."""

    duration_s: float
    turns: list[TurnOut] = Field(description="in order of time, none over another")
    timings_ms: dict[str, float]


class IdentificationOut(BaseModel):
    """Who it is."""

    speaker_id: str | None = Field(description="the speaker, if accepted; else null")
    candidates: list[WeighedOut] = Field(description="the nearest speakers, best first")
    verdict: VerdictOut
    quality: QualityOut | None = Field(description="null of an embedding")
    liveness: Literal["not checked"] = Field(
        description="replayed and synthetic voices are taken for real ones"
    )
    timings_ms: dict[str, float]


class ConsentOut(BaseModel):
    """Who agreed that the voice is kept."""

    given_by: str
    given_at: str = Field(description="UTC, ISO 8601")
    until: str | None = Field(description="from then on it does not answer; null: without end")


class RecordingOut(BaseModel):
    """One enrolment recording."""

    number: str
    enrolled_at: str = Field(description="UTC, ISO 8601")
    speech_s: float | None = Field(description="seconds of speech; null where it is not known")
    model_id: str = Field(description="of the network that made its embeddings")
    calibration_id: str | None = Field(description="what scores meant when it was enrolled")


class SpeakerOut(BaseModel):
    """All that is known of a speaker."""

    speaker_id: str
    recordings: list[RecordingOut]
    speech_s: float | None = Field(description="in all recordings")
    enrolled_at: str = Field(description="of the oldest recording")
    updated_at: str = Field(description="of the newest, or of what else is known")
    metadata: dict[str, str | int | float | bool]
    consent: ConsentOut | None
    is_expired: bool = Field(description="the consent has ended: it does not answer any more")


class EnrolledOut(SpeakerOut):
    """A speaker, and what there is to be said of the enrolment."""

    heard: list[QualityOut] = Field(description="of each recording that was sent")
    duplicate_of: str | None = Field(description="another ID under which the voice is enrolled")
    matches_before: bool | None = Field(
        description="whether it is more likely the voice enrolled under this ID than another"
    )
    liveness: Literal["not checked"]
    timings_ms: dict[str, float]


class SpeakersOut(BaseModel):
    """A page of speakers."""

    speakers: list[SpeakerOut]
    total: int = Field(description="on all pages")
    offset: int
    limit: int


class LookAlikeOut(BaseModel):
    """Two speakers who sound alike."""

    first: str
    second: str
    score: float = Field(description="cosine; the nearer to 1, the more alike")
    stranger_chance: float = Field(description="share of strangers who come as near to anybody")
    likely_duplicate: bool = Field(description="one person under two IDs?")


class LookAlikesOut(BaseModel):
    """Who may be taken for whom."""

    pairs: list[LookAlikeOut]


class ImportOut(BaseModel):
    """What an archive brought."""

    speakers: int
    recordings: int
    skipped: list[str] = Field(description="IDs that were enrolled here already")
    of_other_networks: int = Field(description="recordings that take no part")
