"""The benchmark runs from end to end, on what it says it measures; how quick it is, is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from benchmarks.inputs import cut_recording, fill_gallery
from benchmarks.report import percentiles
from utils.audio import decode
from utils.gallery import FolderGallery

ROOT = Path(__file__).parent.parent
SPEAKERS = 7


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a quick run prints, and what it writes."""
    path = tmp_path_factory.mktemp("benchmarks") / "request.json"
    done = run_benchmarks("request", "--quick", "--speakers", str(SPEAKERS), "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


def test_a_run_writes_what_a_request_takes_beside_the_baseline(
    quick: tuple[str, dict[str, Any]],
) -> None:
    _, result = quick
    assert list(result["galleries"]) == [str(SPEAKERS)]
    figures = result["galleries"][str(SPEAKERS)]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"]
    assert 0 < figures["baseline_p50_ms"] <= figures["baseline_p95_ms"]
    ratio = figures["baseline_p50_ms"] / figures["p50_ms"]
    assert figures["ratio"] == pytest.approx(ratio, abs=0.06)
    for parts in (figures["parts_ms"], figures["baseline_parts_ms"]):
        assert {"decode", "features", "embedding", "search", "http"} <= parts.keys()
        assert all(0 < part["p50_ms"] <= part["p95_ms"] for part in parts.values())


def test_the_baseline_makes_the_same_embedding(quick: tuple[str, dict[str, Any]]) -> None:
    _, result = quick
    assert 0.99 < result["galleries"][str(SPEAKERS)]["embedding_cosine"] <= 1.00001


def test_a_run_counts_the_requests_of_clients_that_ask_at_once(
    quick: tuple[str, dict[str, Any]],
) -> None:
    _, result = quick
    load = result["clients_2"]
    assert load["requests_per_s"] > 0
    assert load["baseline_requests_per_s"] > 0


def test_a_run_prints_a_line_a_part(quick: tuple[str, dict[str, Any]]) -> None:
    text, result = quick
    first_words = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert first_words == list(result["galleries"][str(SPEAKERS)]["parts_ms"])
    assert f"{SPEAKERS} registered speakers" in text


@pytest.mark.parametrize("flags", [("--speakers", "0"), ("--requests", "many")])
def test_a_number_that_makes_no_sense_is_refused(flags: tuple[str, str]) -> None:
    done = run_benchmarks("request", *flags)
    assert done.returncode == 2
    assert flags[0] in done.stderr


def test_help_names_the_command() -> None:
    assert "request" in run_benchmarks("--help").stdout


def test_a_cut_is_as_long_as_asked_for_and_sounds_the_same(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / clip.name
    cut_recording(clip, cut, 3.0)
    with av.open(str(cut)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    sound = decode(cut)
    assert len(sound) / 16_000 == pytest.approx(3.0, abs=0.05)
    n_samples = len(sound) - 1_600  # the last frame of AAC fades, its successor is not there
    np.testing.assert_allclose(sound[:n_samples], decode(clip)[:n_samples], atol=1e-4)


def test_a_filled_gallery_is_taken_in_by_the_server(tmp_path: Path) -> None:
    fill_gallery(tmp_path, 12)
    with FolderGallery(tmp_path, model_id="any") as gallery:
        assert (len(gallery), gallery.skipped) == (12, [])


def test_percentiles_of_a_hundred_and_one_are_its_members() -> None:
    assert percentiles(range(101), "baseline_") == {"baseline_p50_ms": 50, "baseline_p95_ms": 95}


def test_ours_is_timed_without_peers(tmp_path: Path) -> None:
    path = tmp_path / "embedding.json"
    flags = ("--speech", str(tmp_path), "--rounds", "3", "--json", str(path))
    done = run_benchmarks("embedding", *flags)
    assert done.returncode == 0, done.stderr
    networks = json.loads(path.read_text())["networks"]
    assert networks.keys() == {"ours", "ours_int8"}
    assert networks["ours"]["times_ours"] == 1.0
    assert all(0 < each["p50_ms"] <= each["p95_ms"] for each in networks.values())


def test_requests_are_embedded_alone_and_together() -> None:
    done = run_benchmarks("batching", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    title, _, windows, ms, shares = done.stdout.splitlines()
    assert title.endswith("| 1 | 2 | 4 | 8 |")
    assert windows == "| windows at once | 3 | 6 | 12 | 24 |"
    assert all(float(each) > 0 for each in ms.split("|")[2:-1])
    assert shares.split("|")[2] == " 1.00 "
