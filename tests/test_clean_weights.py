"""What judges the network was not trained on: dev speakers and the sample set's voices."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from training.corpus import check_speakers, read_manifest

ROOT = Path(__file__).parent.parent
SPEECH = ROOT.parent / "shared" / "speech"
SAME_VOICE = 0.7  # cosine; a sample recording is at 0.75 or more of its own voice
# (7, 192): CAM++'s mean embedding of each voice's ten recordings, made length 1
SAMPLE_VOICES = Path(__file__).parent / "sample_voices.npy"

needs_corpus = pytest.mark.skipif(
    not (SPEECH / "train.tsv").exists(), reason="the corpus is not here"
)


def listed(side: str) -> list[str]:
    return (ROOT / "training" / f"{side}_speakers.txt").read_text().split()


def test_no_speaker_is_on_both_sides() -> None:
    train, dev = listed("train"), listed("dev")
    assert (len(set(train)), len(set(dev))) == (len(train), len(dev)) == (2_894, 579)
    assert not set(train) & set(dev)


def test_no_sample_speaker_is_on_either_side() -> None:
    with (DATA / "samples.tsv").open(encoding="utf-8", newline="") as table:
        sample = {row["speaker_id"] for row in csv.DictReader(table, delimiter="\t")}
    assert len(sample) == 7
    assert not sample & {*listed("train"), *listed("dev")}


def test_a_dev_speaker_is_refused_where_the_dev_lists_are_not_at_hand(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(f"file\tspeaker\n1.ogg\t{listed('dev')[0]}\n")
    with pytest.raises(ValueError, match="1 speakers are in"):
        check_speakers(tmp_path)


@needs_corpus
@pytest.mark.parametrize("side", ["train", "dev"])
def test_the_lists_are_the_corpus(side: str) -> None:
    assert {row["speaker"] for row in read_manifest(SPEECH / f"{side}.tsv")} == set(listed(side))


@needs_corpus
def test_no_training_recording_sounds_like_a_sample_voice() -> None:
    with np.load(SPEECH / "train-campplus.npz") as teacher:
        recordings = teacher["embeddings"].astype(np.float32)
    assert (recordings @ np.load(SAMPLE_VOICES).astype(np.float32).T).max() < SAME_VOICE
