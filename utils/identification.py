"""A recording's way, from its bytes to the answer: the one place that ties the others together.

`hearing` (decode, where is speech? enough of it? windows, embeddings) -> search -> `judging` (is it
really somebody?) -> register, re-register or not -> answer. `questions` has what is asked without
enrolling anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from utils import enrolment, questions
from utils.admission import Admission, no_queue
from utils.audio import AudioLimits, decode
from utils.calibration import Calibration
from utils.clock import Clock
from utils.decision import Verdict
from utils.embedding import Engine
from utils.enrolment import Enrolled
from utils.errors import AlreadyEnrolled, EmptyGallery, LikelyDuplicate
from utils.gallery import Candidate, Gallery, Mode, Profile, Take
from utils.hearing import Decode, Ear, Hearing, Source, Voice, sound_of
from utils.judging import Judge, other_speaker
from utils.quality import Quality, QualityRules
from utils.questions import Asked, Comparison, Conversation, Identification, Verification
from utils.speaker_id import RecordingName
from utils.speech import SpeechDetector

Decision = Literal["registered", "re_registered", "recording_added", "identified"]

N_CANDIDATES = 5


@dataclass(frozen=True)
class Policy:
    """What an operator decides about decisions."""

    max_fpir: float = 0.01  # of strangers, those who may be taken for somebody
    refuse_duplicates: bool = False  # a voice that is enrolled under another ID
    refuse_two_voices: bool = True  # an enrolment in which two people speak
    max_recordings: int = 5  # of a speaker, that answer together

    def __post_init__(self) -> None:
        if not 0.0 < self.max_fpir < 1.0:
            raise ValueError(f"max_fpir must be between 0 and 1, got {self.max_fpir}")
        if self.max_recordings < 1:
            raise ValueError(f"max_recordings must be 1 or more, got {self.max_recordings}")


@dataclass(frozen=True)
class Answer:
    """What is said of a recording."""

    speaker_id: str
    decision: Decision
    score: float
    """Cosine of the recording and the answered speaker's centroid, in [-1, 1]."""
    candidates: list[Candidate]
    """The nearest enrolled speakers, best first; at most five."""
    verdict: Verdict | None
    """Whether the nearest speaker is to be believed; None of a registration."""
    quality: Quality
    has_two_voices: bool
    duplicate_of: str | None
    """Of a registration: another ID under which this voice is enrolled already."""
    matches_before: bool | None
    """Of a re-registration or an added recording: whether this voice is more likely the one that
    was enrolled than another."""
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class Identifier:
    """Answers recordings with one engine and one gallery; safe to share between threads."""

    engine: Engine
    gallery: Gallery
    detector: SpeechDetector
    calibration: Calibration
    limits: AudioLimits = field(default_factory=AudioLimits)
    rules: QualityRules = field(default_factory=QualityRules)
    policy: Policy = field(default_factory=Policy)
    decode: Decode = decode
    admission: Admission = field(default_factory=no_queue)
    """Every method that hears takes a turn."""
    ear: Ear = field(init=False, repr=False)
    judge: Judge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ear = Ear(
            self.engine,
            self.detector,
            self.limits,
            self.rules,
            self.policy.refuse_two_voices,
            self.decode,
        )
        object.__setattr__(self, "ear", ear)
        object.__setattr__(self, "judge", Judge(self.calibration, self.policy.max_fpir))

    def identify(
        self, asked: Asked, *, candidates: Sequence[str] | None = None, top_k: int = N_CANDIDATES
    ) -> Identification:
        """Who of the enrolled speakers it is, or of the `candidates`: `questions.identify`."""
        with self._turn_for(asked):
            return questions.identify(
                self.ear, self.judge, self.gallery, asked, candidates=candidates, top_k=top_k
            )

    def verify(self, asked: Asked, speaker_id: str) -> Verification:
        """Whether it is this speaker: `questions.verify`."""
        with self._turn_for(asked):
            return questions.verify(self.ear, self.judge, self.gallery, asked, speaker_id)

    def embed(self, source: Source) -> Hearing:
        """What is heard in a recording, to ask about it later: `Ear.listen`."""
        with self.admission.turn():
            return self.ear.listen(source, Clock())

    def compare(self, first: Source, second: Source) -> Comparison:
        """Whether two recordings are of one voice: `questions.compare`."""
        with self.admission.turn():
            return questions.compare(self.ear, self.judge, self.gallery, first, second)

    def segments(self, source: Source) -> Conversation:
        """Who spoke when in a recording of several voices: `questions.segments`."""
        with self.admission.turn():
            return questions.segments(self.ear, self.judge, self.gallery, source)

    def enrol(
        self,
        speaker_id: str,
        sources: Sequence[tuple[Source, str | None]],
        mode: Mode,
        profile: Profile | None = None,
    ) -> Enrolled:
        """Enrols recordings of one speaker together: `enrolment.enrol`."""
        with self.admission.turn():
            return enrolment.enrol(
                self.ear,
                self.judge,
                self.gallery,
                speaker_id,
                sources,
                mode,
                most=self.policy.max_recordings,
                refuse_duplicates=self.policy.refuse_duplicates,
                profile=profile,
            )

    def answer(
        self,
        source: Source,
        recording: RecordingName,
        *,
        re_register: bool = False,
        register: bool = True,
        add: bool = False,
    ) -> Answer:
        """Enrols the recording's speaker, or finds the nearest one that is enrolled.

        An unknown ID is enrolled (unless `register` is false); with `re_register` this recording
        replaces all that is enrolled under the ID, with `add` it joins that; otherwise the whole
        gallery is searched.
        When this returns, what was enrolled is durable.

        Raises:
            BadAudio: no voice can be read out of the recording, or too little of it.
            TooLarge: it has more bytes than the limits allow.
            EmptyGallery: `register` is false and nobody is enrolled.
            LikelyDuplicate: the policy refuses a voice that is enrolled under another ID.
            NotEnrolled, AlreadyEnrolled, TooManyRecordings: the recording cannot be added.
            Overloaded: too many wait to be heard.
        """
        with self.admission.turn():
            return self._answer(source, recording, re_register, register, add)

    def _turn_for(self, asked: Asked) -> AbstractContextManager[None]:
        """What was heard already takes none."""
        return nullcontext() if isinstance(asked, Hearing | Voice) else self.admission.turn()

    def _answer(
        self, source: Source, recording: RecordingName, re_register: bool, register: bool, add: bool
    ) -> Answer:
        clock = Clock()
        speaker_id = recording.speaker_id
        with clock.stage("gallery"):
            enrols = register and (add or re_register or speaker_id not in self.gallery)
        hearing = self.ear.listen(source, clock, enrolling=enrols)
        voice = hearing.voice
        with clock.stage("search"):
            before = self.gallery.snapshot()
            nearest = before.search(voice.embedding, N_CANDIDATES)
            verdict = self.judge.verdict(voice, nearest, before)
            matches = self.judge.matches(voice, speaker_id, before) if enrols else None
        decision: Decision = "identified"
        duplicate_of = None
        with clock.stage("gallery"):
            if enrols:
                duplicate_of = other_speaker(nearest, verdict, speaker_id)
                if duplicate_of and self.policy.refuse_duplicates:
                    raise LikelyDuplicate
                media = sound_of(source) if self.gallery.keeps_recordings else None
                decision = self._enrol(recording, hearing, media, re_register, add)
                after = self.gallery.snapshot()
                nearest = after.search(voice.embedding, N_CANDIDATES)
                if decision == "identified":  # another request enrolled the ID meanwhile
                    verdict = self.judge.verdict(voice, nearest, after)
        if not nearest:
            raise EmptyGallery("Nobody is enrolled yet; register a speaker first.")
        return Answer(
            speaker_id=nearest[0].speaker_id if decision == "identified" else speaker_id,
            decision=decision,
            score=nearest[0].score,
            candidates=nearest,
            verdict=verdict if decision == "identified" else None,
            quality=hearing.quality,
            has_two_voices=hearing.has_two_voices,
            duplicate_of=duplicate_of if decision != "identified" else None,
            matches_before=matches if decision != "identified" else None,
            timings_ms=clock.timings_ms(),
        )

    def _enrol(
        self,
        recording: RecordingName,
        hearing: Hearing,
        media: bytes | None,
        re_register: bool,
        add: bool,
    ) -> Decision:
        speaker_id = recording.speaker_id
        takes = [Take(hearing.embeddings, hearing.quality.speech_s, recording.number, media)]
        if add:
            self.gallery.enrol_several(speaker_id, takes, "add", self.policy.max_recordings)
            return "recording_added"
        if re_register and speaker_id in self.gallery:
            self.gallery.enrol_several(speaker_id, takes, "replace")
            return "re_registered"
        try:
            self.gallery.enrol_several(speaker_id, takes, "register")
        except AlreadyEnrolled:  # another request was quicker: then this one asks
            return "identified"
        return "registered"
