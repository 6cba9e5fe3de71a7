"""The sample set is whole: what the demo, the README and other tests count on."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

import av
import pytest

DATA = Path(__file__).parent.parent / "data"
FILES = sorted(DATA.glob("*.mp4"))
TOLERANCE_S = 0.2  # an AAC frame and a frame of the picture


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """`samples.tsv`, a dictionary a line."""
    with (DATA / "samples.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_seven_speakers_have_recordings_0_to_9() -> None:
    names = [re.fullmatch(r"(.+)-(\d+)\.mp4", path.name) for path in FILES]
    assert all(names), "a name is not <id>-<number>.mp4"
    found = {(name[1], int(name[2])) for name in names if name}
    speakers = {speaker_id for speaker_id, _ in found}
    assert (len(FILES), len(speakers)) == (70, 7)
    assert found == {(speaker_id, number) for speaker_id in speakers for number in range(10)}


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 12e6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_recording_is_a_few_seconds_of_h264_and_aac(path: Path) -> None:
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        n_samples = sum(frame.samples for frame in container.decode(audio))
        assert 4 - TOLERANCE_S <= n_samples / audio.rate <= 8 + TOLERANCE_S
        assert container.duration is not None
        assert 4 - TOLERANCE_S <= container.duration / av.time_base <= 8 + TOLERANCE_S


def test_the_table_lists_every_file_with_its_hash(rows: list[dict[str, str]]) -> None:
    listed = {row["file"]: row["sha256"] for row in rows}
    assert len(listed) == len(rows)
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES}


def test_no_prompt_is_heard_in_two_recordings(rows: list[dict[str, str]]) -> None:
    uses = Counter((row["package"], prompt) for row in rows for prompt in row["prompts"].split())
    assert set(uses.values()) == {1}


def test_one_speaker_is_enrolled_in_english_and_asked_in_spanish_too(
    rows: list[dict[str, str]],
) -> None:
    languages = [row["language"] for row in rows if row["speaker_id"] == "ast1@example.org"]
    assert languages == ["English (US)"] * 5 + ["Spanish (Mexico)"] * 5


def test_every_package_is_credited_and_its_licence_is_here(rows: list[dict[str, str]]) -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    licences = [path.name.split(".")[0] for path in (DATA / "licences").glob("*.copyright.txt")]
    for package in {row["package"] for row in rows}:
        assert package in readme
        assert any(package.startswith(name) for name in licences), package
