"""What a cosine is worth: normalised against a cohort, as a log-likelihood ratio, and as the share
of strangers who would score as high in a gallery of this size.

    cosine -> score       adaptive symmetric normalisation: how far it stands out of what either
                          side has with the nearest of some thousand training speakers (AS-norm,
                          Matejka et al. 2017)
    score -> LLR          a line whose slope and offset know the speech on both sides (quality
                          measure functions, Mandasari et al. 2013)
    score -> strangers    the distribution of the best score that a stranger has among n speakers,
                          as extreme value theory has it grow with n, moved to where this
                          gallery's own speakers have theirs with each other

`python -m evaluation calibrate` fits it; `best_model/calibration.json` and the cohort beside it are
the result. Arrays in, arrays out; nothing here knows a gallery's files.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.errors import NotReady

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]

FILE = "calibration.json"
COHORT = "cohort.npy"  # as `python -m training cohort` names it
SHORTEST_S = 0.5  # durations are taken as no shorter
UNKNOWN_S = 5.0  # what is taken where nobody knows how much speech was enrolled
MOST_S = 60.0  # more speech than that is not asked for
SAME_VOICE = 1e-4  # of strangers, who come so near: two IDs as near are taken for one voice
LEVEL_SPEAKERS = 64  # of a gallery that its level is taken from


@dataclass(frozen=True)
class CohortStatistics:
    """Of some embeddings' cosines with their nearest cohort speakers."""

    mean: Floats  # (n,)
    spread: Floats  # (n,) standard deviations

    def at(self, places: slice | npt.NDArray[np.intp]) -> CohortStatistics:
        return CohortStatistics(self.mean[places], self.spread[places])


@dataclass(frozen=True)
class StrangerModel:
    """The best score that a stranger has among n enrolled speakers.

    With g = -ln(-ln(1 - p)), Gumbel's reduced variate of the share p of strangers, the score that p
    of them reach is a parabola in g + growth * ln n: 1 would be independent comparisons of an
    exponential tail, the parabola bends it to the lighter one that cosines have.

    A gallery in one language over one kind of line has voices that are nearer to each other than
    those of the fit. How much nearer shows in the gallery: the `quantile` of its speakers' best
    scores with each other, against `expected` + `expected_growth` * ln n. So much is the curve
    moved, times n / (n + prior_speakers).
    """

    curve: tuple[float, float, float]
    growth: float
    quantile: float
    expected: float
    expected_growth: float
    prior_speakers: float

    def threshold(self, share: float, speakers: int) -> float:
        """The score that this share of strangers reaches with anybody of so many, at level 0."""
        g = -np.log(-np.log1p(-share)) + self.growth * np.log(max(speakers, 1))
        low, slope, bend = self.curve
        return float(low + slope * self._inside(g) + bend * self._inside(g) ** 2)

    def share(self, score: float, speakers: int) -> float:
        """The share of strangers who reach a score: what `threshold` inverts."""
        low, slope, bend = self.curve
        if abs(bend) < 1e-12:
            g = (score - low) / slope
        else:
            inside = slope * slope - 4.0 * bend * (low - score)
            g = self._top if inside <= 0.0 else (np.sqrt(inside) - slope) / (2.0 * bend)
        g = min(float(g), self._top) - self.growth * np.log(max(speakers, 1))
        return float(-np.expm1(-np.exp(-g)))

    def level(self, best: Floats) -> float:
        """How far a gallery's curve is moved.

        Args:
            best: (n,) each speaker's best score with another one.
        """
        n = best.size
        if n < 3:
            return 0.0
        excess = np.quantile(best, self.quantile) - self.expected - self.expected_growth * np.log(n)
        return float(excess * n / (n + self.prior_speakers))

    @property
    def _top(self) -> float:
        """Where a parabola that bends down has its top: from there on it is held."""
        bend = self.curve[2]
        return float("inf") if bend >= 0.0 else -self.curve[1] / (2.0 * bend)

    def _inside(self, g: float) -> float:
        return min(g, self._top)


@dataclass(frozen=True)
class Calibration:
    """One network's calibration."""

    model_id: str
    cohort: Rows  # (speakers, 64), rows of length 1
    nearest: int  # of the cohort, that statistics are taken over
    llr_line: tuple[float, float, float, float]  # offset, score, duration, score * duration
    target_line: tuple[float, float]  # expected score of a right answer: offset, duration
    strangers: StrangerModel

    @cached_property
    def calibration_id(self) -> str:
        """16 hex digits, others for other numbers: what scores mean to whoever keeps it."""
        numbers = [self.model_id, self.nearest, self.llr_line, self.target_line]
        text = json.dumps([*numbers, asdict(self.strangers)])
        return hashlib.sha256(text.encode() + self.cohort.tobytes()).hexdigest()[:16]

    def statistics(self, embeddings: Rows) -> CohortStatistics:
        """(n, 64) rows of length 1 -> what they have with the cohort."""
        cosines = np.asarray(embeddings, np.float32) @ self.cohort.T
        nearest = np.partition(cosines, -self.nearest, axis=1)[:, -self.nearest :]
        return CohortStatistics(
            nearest.mean(axis=1, dtype=np.float64), nearest.std(axis=1, dtype=np.float64)
        )

    def scores(
        self, cosines: Floats, probes: CohortStatistics, enrolled: CohortStatistics
    ) -> Floats:
        """AS-norm of (probes, enrolled) cosines."""
        of_probes = (cosines - probes.mean[:, None]) / probes.spread[:, None]
        of_enrolled = (cosines - enrolled.mean) / enrolled.spread
        normalised: Floats = 0.5 * (of_probes + of_enrolled)
        return normalised

    def compare(self, probes: Rows, enrolled: Rows | None = None) -> Floats:
        """(probes, enrolled) scores of embeddings; of the probes with each other where None."""
        of_probes = self.statistics(probes)
        of_enrolled = of_probes if enrolled is None else self.statistics(enrolled)
        cosines = probes @ (probes if enrolled is None else enrolled).T
        return self.scores(cosines.astype(np.float64), of_probes, of_enrolled)

    def llr(self, scores: Floats, probe_s: Floats, enrolled_s: Floats) -> Floats:
        """Natural logarithm of how much likelier the scores are of one voice than of two.

        Args:
            scores, probe_s, enrolled_s: of one shape; seconds of speech on either side.
        """
        return likelihood_ratios(self.llr_line, scores, shortness(probe_s, enrolled_s))

    def level(self, centroids: Rows) -> float:
        """Of a gallery's enrolled speakers, (n, 64): see `StrangerModel`.

        One voice under two IDs says nothing about strangers, so such pairs are left out.
        """
        if len(centroids) < 3:
            return 0.0
        scores = self.compare(centroids)
        np.fill_diagonal(scores, -np.inf)
        best = scores.max(axis=1)
        same = self.strangers.threshold(SAME_VOICE, len(centroids))
        return self.strangers.level(best[best < same])

    def more_speech_s(
        self, score: float, wanted: float, probe_s: float, enrolled_s: float
    ) -> float | None:
        """Seconds of speech that would be expected to lift a right answer to the wanted score.

        Returns:
            None where no speech of up to a minute would.
        """
        slope = self.target_line[1]
        if score >= wanted:
            return 0.0
        if slope >= 0.0:
            return None
        now = float(shortness(np.float64(probe_s), np.float64(enrolled_s)))
        left = np.exp(now + (wanted - score) / slope) - 1.0 / max(enrolled_s, SHORTEST_S)
        if left <= 1.0 / MOST_S:
            return None
        return float(1.0 / left - max(probe_s, SHORTEST_S))


def likelihood_ratios(
    line: tuple[float, float, float, float], scores: Floats, short: Floats
) -> Floats:
    """Natural logarithms, of scores and their `shortness`."""
    offset, slope, of_short, of_both = line
    ratios: Floats = offset + of_short * short + (slope + of_both * short) * scores
    return ratios


def shortness(probe_s: npt.ArrayLike, enrolled_s: npt.ArrayLike) -> Floats:
    """ln(1 / probe + 1 / enrolled): how much of a score's spread is for want of speech."""
    probe = np.maximum(np.asarray(probe_s, np.float64), SHORTEST_S)
    enrolled = np.maximum(np.asarray(enrolled_s, np.float64), SHORTEST_S)
    logarithm: Floats = np.log(1.0 / probe + 1.0 / enrolled)
    return logarithm


def load_calibration(folder: Path, model_id: str, own: Path | None = None) -> Calibration:
    """Reads the calibration of a network.

    Args:
        folder: holds the cohort, and the shipped calibration.
        own: another calibration file, which an operator fitted.

    Raises:
        NotReady: it is missing, altered, or of another network.
    """
    path = own or folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        content = (folder / document["cohort"]["name"]).read_bytes()
    except FileNotFoundError as error:
        raise NotReady(
            f"{error.filename} is missing; restore best_model/ from the repository, or make it "
            "with `python -m training cohort` and `python -m evaluation calibrate`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady(
            f"{path} is no calibration; make it with `python -m evaluation calibrate`."
        ) from error
    if document["model_id"] != model_id:
        raise NotReady(
            f"{path} is for the network {document['model_id']}, and {model_id} is served; "
            "run `python -m evaluation calibrate` again."
        )
    if hashlib.sha256(content).hexdigest() != document["cohort"]["sha256"]:
        raise NotReady(
            f"{folder / document['cohort']['name']} is not what {path.name} was fitted with; "
            "restore both from the repository."
        )
    strangers = document["strangers"]
    return Calibration(
        model_id=model_id,
        cohort=np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32),
        nearest=document["cohort"]["nearest"],
        llr_line=tuple(document["llr_line"]),
        target_line=tuple(document["target_line"]),
        strangers=StrangerModel(**{**strangers, "curve": tuple(strangers["curve"])}),
    )
