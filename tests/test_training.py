"""Training on a tiny corpus: batches repeat, a run taken up again is the unbroken run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from training import checkpoint
from training.batches import BatchMaker
from training.corpus import Corpus, Recordings, check_speakers
from training.degrade import DegradationSettings, band_pass, change_speed, degrade, mix
from training.rooms import simulate_rooms
from training.settings import RunSettings, learning_rate
from training.targets import make_targets
from training.windows import NOBODY, cut, draw_windows, windows_anywhere

ROOT = Path(__file__).parent.parent
SPEECH = ROOT.parent / "shared" / "speech"
N_RECORDINGS = 6
SAMPLES = 32_000  # of a window


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Six recordings of three made-up voices, one noise, one room."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(20_000, 60_000, N_RECORDINGS)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    speech = Recordings(
        samples=rng.integers(-8_000, 8_000, starts[-1]).astype(np.int16),
        starts=starts,
        names=np.array([f"{index}.ogg" for index in range(N_RECORDINGS)]),
        labels=np.array(["a", "a", "a", "b", "b", "c"]),
    )
    noise = Recordings(
        samples=rng.integers(-4_000, 4_000, 40_000).astype(np.int16),
        starts=np.array([0, 20_000, 40_000]),
        names=np.array(["hum.ogg", "song.ogg"]),
        labels=np.array(["noise", "music"]),
    )
    room = np.zeros(800, np.float32)
    room[[0, 400]] = 0.9, 0.3
    teacher = rng.normal(size=(N_RECORDINGS, 192)).astype(np.float32)
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    return Corpus(speech, noise, [room], teacher, domains=np.repeat("studio en", N_RECORDINGS))


def make_batch(corpus: Corpus, number: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    settings = RunSettings(batch_size=8, seed=seed, short_chance=0.5)
    inputs, targets = BatchMaker(corpus, settings, embedding_size=4).make(number)
    return inputs, targets["unit"]


def test_a_batch_is_a_function_of_seed_and_number(corpus: Corpus) -> None:
    first, again, next_one, other_seed = (
        make_batch(corpus, *arguments) for arguments in ((5,), (5,), (6,), (5, 2))
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], next_one[0])
    assert not np.array_equal(first[0], other_seed[0])


def test_a_batch_fits_the_network(corpus: Corpus) -> None:
    inputs, targets = make_batch(corpus, 0)
    assert inputs.shape == (8, 200, 64)
    assert np.isfinite(inputs).all()
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1.0, atol=1e-5)


def test_noise_comes_at_the_ratio_asked_for() -> None:
    rng = np.random.default_rng(0)
    voice, noise = rng.normal(size=(2, 32_000)).astype(np.float32)
    added = mix(voice, 7 * noise, snr_db=5.0) - voice
    ratio_db = 10 * np.log10(np.mean(voice**2) / np.mean(added**2))
    assert ratio_db == pytest.approx(5.0, abs=0.01)


def test_a_telephone_band_keeps_its_band() -> None:
    time = np.arange(16_000) / 16_000
    tones = {
        hertz: np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (100, 1_000, 5_000)
    }
    level = {hertz: float(np.std(band_pass(tone, 300, 3_400))) for hertz, tone in tones.items()}
    assert level[1_000] == pytest.approx(np.std(tones[1_000]), rel=0.01)
    assert max(level[100], level[5_000]) < 1e-3


def test_degradations_can_be_turned_off(corpus: Corpus) -> None:
    never = replace(
        DegradationSettings(),
        **{
            name: 0.0
            for name in DegradationSettings.__dataclass_fields__
            if name.endswith("chance")
        },
    )
    wave = corpus.speech.wave(0)
    np.testing.assert_array_equal(degrade(wave, corpus, never, np.random.default_rng(0)), wave)


def test_a_target_is_drawn_towards_its_speaker(corpus: Corpus) -> None:
    of_share = {
        share: make_targets(corpus, RunSettings(centroid_share=share, class_recordings=2), size=4)
        for share in (0.0, 0.5, 1.0)
    }
    assert of_share[0.0].speaker.tolist() == [0, 0, 0, 1, 1, -1]
    alone, between, mean = (of_share[share].unit for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(mean[:3], np.tile(of_share[0.0].centroids[0], (3, 1)), atol=1e-6)
    np.testing.assert_allclose(mean[5], alone[5], atol=1e-6)
    nearer = np.sum(between * mean, axis=1) - np.sum(alone * mean, axis=1)
    assert (nearer[:5] > 0).all()
    assert of_share[0.0].chances.sum() == pytest.approx(1.0)


def test_a_speaker_near_a_dev_speaker_is_never_picked(corpus: Corpus) -> None:
    labels = np.array(["so0001" if label == "a" else label for label in corpus.speech.labels])
    near = replace(corpus, speech=replace(corpus.speech, labels=labels))
    targets = make_targets(near, RunSettings(class_recordings=2), size=4)
    assert (targets.chances[:3] == 0.0).all()
    assert targets.chances[3:].sum() == pytest.approx(1.0)
    assert targets.speaker.tolist() == [-1, -1, -1, 0, 0, -1]


def test_a_voice_at_another_speed_is_another_voice(corpus: Corpus) -> None:
    settings = RunSettings(speeds="0.9", class_recordings=2)
    with pytest.raises(SystemExit, match=r"teach --speed 0\.9"):
        make_targets(corpus, settings, size=4)
    taught = replace(corpus, teacher_at={0.9: corpus.teacher[::-1]})
    targets = make_targets(taught, settings, size=4)
    windows = targets.windows
    assert windows["recording"].tolist() == 2 * list(range(N_RECORDINGS))
    assert windows["speed"].tolist() == pytest.approx(N_RECORDINGS * [1.0] + N_RECORDINGS * [0.9])
    assert targets.speaker.tolist() == [0, 0, 0, 1, 1, -1, 2, 2, 2, 3, 3, -1]
    assert targets.centroids.shape == (4, 4)
    np.testing.assert_allclose(targets.unit[N_RECORDINGS:], targets.unit[:N_RECORDINGS][::-1])
    assert targets.chances[:N_RECORDINGS].sum() == pytest.approx(0.5)


def test_a_blend_lies_between_two_runs(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("other", 2.0)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "checkpoint.npz", step=7, averaged_000=np.full((2, 3), value))
    (tmp_path / "other" / "settings.json").write_text("{}")
    made = checkpoint.blend(tmp_path / "one", tmp_path / "other", 0.75, tmp_path / "new" / "run")
    step, (mean,) = checkpoint.read_averaged(made)
    assert step == 7
    np.testing.assert_allclose(mean, np.full((2, 3), 1.75))
    assert (made / "settings.json").read_text() == "{}"
    np.savez(tmp_path / "one" / "checkpoint.npz", step=7, averaged_000=np.ones(2))
    with pytest.raises(ValueError, match="different shapes"):
        checkpoint.blend(tmp_path / "one", tmp_path / "other", 0.5, tmp_path / "new" / "run")


def test_windows_lie_in_their_recordings(corpus: Corpus) -> None:
    windows = draw_windows(corpus.speech, SAMPLES, seed=1)
    lengths = np.diff(corpus.speech.starts)
    assert len(windows) == np.ceil(lengths / SAMPLES).sum()
    assert set(windows["recording"]) == set(range(N_RECORDINGS))
    spare = lengths[windows["recording"]] - np.round(SAMPLES * windows["speed"])
    assert (windows["start"] >= 0).all()
    assert (windows["start"] <= np.maximum(spare, 0)).all()
    np.testing.assert_array_equal(windows, draw_windows(corpus.speech, SAMPLES, seed=1))
    assert not np.array_equal(windows, draw_windows(corpus.speech, SAMPLES, seed=2))


def test_a_window_has_the_other_voice_so_far_below_the_first(corpus: Corpus) -> None:
    window = windows_anywhere(N_RECORDINGS, speed=1.0)[0]
    window["start"], window["other"], window["other_db"] = 100, 3, 6.0
    both = cut(corpus.speech, window, SAMPLES)
    window["other"] = NOBODY
    alone = cut(corpus.speech, window, SAMPLES)
    np.testing.assert_array_equal(alone, np.resize(corpus.speech.wave(0, 100, SAMPLES), SAMPLES))
    ratio = np.mean(alone**2) / np.mean((both - alone) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(6.0, abs=0.01)


def test_the_target_of_a_window_is_what_the_teacher_says_of_it(corpus: Corpus) -> None:
    settings = RunSettings(window_share=0.75, class_recordings=2)
    with pytest.raises(SystemExit, match="teach --windows"):
        make_targets(corpus, settings, size=4)
    windows = windows_anywhere(3, speed=1.0)
    windows["recording"], windows["start"], windows["other"] = [3, 3, 5], 0, [NOBODY, 5, NOBODY]
    taught = replace(corpus, windows=[(windows, corpus.teacher[[1, 2, 5]])])
    targets = make_targets(taught, settings, size=4)
    np.testing.assert_array_equal(targets.windows[N_RECORDINGS:], windows)
    np.testing.assert_allclose(targets.unit[N_RECORDINGS:], targets.unit[[1, 2, 5]], atol=1e-6)
    assert targets.speaker[N_RECORDINGS:].tolist() == [1, -1, -1]  # two voices are nobody's class
    assert targets.chances[N_RECORDINGS:].sum() == pytest.approx(0.75)
    assert targets.chances.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_a_faster_voice_is_shorter_and_higher(speed: float) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    played = change_speed(tone, speed)
    assert played.size == round(16_000 / speed)
    crossings = np.count_nonzero(np.diff(np.signbit(played)))
    assert crossings / 2 / played.size * 16_000 == pytest.approx(440 * speed, rel=0.01)


def test_the_learning_rate_rises_then_falls() -> None:
    settings = RunSettings(steps=1_000, warmup_steps=100)
    rates = [learning_rate(step, settings) for step in range(1_001)]
    assert int(np.argmax(rates)) in (99, 100)
    assert rates[99] == pytest.approx(settings.peak_rate)
    assert rates[-1] == pytest.approx(settings.final_rate)


def write_tiny_speech(folder: Path) -> None:
    """Lays out sample clips as the speech folder is laid out (as a test only: never trained on)."""
    clips = sorted(DATA.glob("ast[123]@example.org-[01].mp4"))
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "train-00.zip", "w") as shard:
        for clip in clips:
            shard.write(clip, clip.name)
    head = "shard\tfile\tspeaker\tsource\tlanguage\n"
    rows = [
        f"train-00.zip\t{clip.name}\t{clip.name.partition('@')[0]}\tvoices\ten\n" for clip in clips
    ]
    (folder / "train.tsv").write_text(head + "".join(rows))
    (folder / "noise.tsv").write_text(
        head
        + "".join(f"train-00.zip\t{clips[0].name}\t\t{kind}\t\n" for kind in ("noise", "music"))
    )
    np.savez(folder / "rooms.npz", room=np.array([0.0, 1.0, 0.3]))
    embeddings = rng.normal(size=(len(clips), 192)).astype(np.float16)
    np.savez(
        folder / "train-campplus.npz", embeddings=embeddings, files=[clip.name for clip in clips]
    )


def write_manifest(path: Path, speakers: list[str], source: str = "cv") -> None:
    rows = [f"{speaker}/1.ogg\t{speaker}\t{source}\n" for speaker in speakers]
    path.write_text("file\tspeaker\tsource\n" + "".join(rows))


def test_a_speaker_of_the_dev_lists_is_not_trained_on(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.tsv", ["ann", "bob"])
    write_manifest(tmp_path / "dev.tsv", ["cy"])
    check_speakers(tmp_path)
    write_manifest(tmp_path / "dev.tsv", ["bob", "cy"])
    with pytest.raises(ValueError, match=r"1 speakers are in train\.tsv and dev\.tsv: \['bob'\]"):
        check_speakers(tmp_path)


def test_a_voice_of_the_sample_set_is_not_trained_on(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.tsv", ["ann"], source="asterisk-core-sounds-en-g722")
    with pytest.raises(ValueError, match="sample set"):
        check_speakers(tmp_path)


@pytest.mark.skipif(not (SPEECH / "train.tsv").exists(), reason="the corpus is not here")
def test_the_corpus_at_hand_is_clean() -> None:
    check_speakers(SPEECH)


def test_a_simulated_room_is_heard_and_dies_away(tmp_path: Path) -> None:
    pytest.importorskip("pyroomacoustics")
    simulate_rooms(tmp_path / "rooms.npy", n_rooms=3)
    for response in np.load(tmp_path / "rooms.npy").astype(np.float32):
        assert np.abs(response).max() == pytest.approx(1.0)
        assert np.count_nonzero(response) > 1_000
        assert np.square(response[-1_600:]).mean() < np.square(response).max() / 1_000


IMPORT_WITH_LITTLE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"av", "flask", "matplotlib", "onnx", "onnxruntime", "tensorflow", "torch"}:
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import training.device_batches, training.run
"""


def test_a_gpu_machine_needs_little_to_train() -> None:
    subprocess.run(
        [sys.executable, "-c", IMPORT_WITH_LITTLE],
        cwd=ROOT, check=True, timeout=120, env={**os.environ, "KERAS_BACKEND": "jax"},
    )  # fmt: skip


def test_another_shape_of_the_network_is_asked_for_in_json() -> None:
    code = """
from training.network import NetworkSettings, network_settings
asked = network_settings({"stage_strides": [[1, 2], [2, 1]], "recurrent_units": 256})
assert asked == NetworkSettings(stage_strides=((1, 2), (2, 1)), recurrent_units=256)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    command = (sys.executable, "-m", "training", "run", "--name", "x", "--network", '{"wide": 1}')
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("--network: ")


TINY_RUN = """
import sys
from pathlib import Path
from training.network import NetworkSettings
from training.run import train
from training.settings import RunSettings
name, steps_now = sys.argv[2], int(sys.argv[3])
folder = Path(sys.argv[1])
if __name__ == "__main__":
    train(
        name,
        RunSettings(steps=6, batch_size=4, warmup_steps=2, precision="float32",
                    margin_weight=0.1, class_recordings=2, refit_batches=2),
        speech=folder, cache=folder / "cache", runs=folder / "runs",
        # TensorFlow 2.21 with oneDNN crashes in convolutions of fewer than 16 channels
        network=NetworkSettings(stem_channels=16, stage_channels=(16, 16), projection_units=16,
                                recurrent_units=16, attention_units=16),
        stop_after=steps_now,
    )
"""


def test_a_run_taken_up_again_is_the_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_speech(tmp_path)
    script = tmp_path / "tiny_run.py"
    script.write_text(TINY_RUN)

    def run(name: str, steps_now: int) -> None:
        subprocess.run(
            [sys.executable, str(script), str(tmp_path), name, str(steps_now)],
            cwd=ROOT, check=True, capture_output=True, timeout=170,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow",
                 "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    run("unbroken", 6)
    run("broken", 3)
    run("broken", 6)
    monkeypatch.setattr(checkpoint, "KEPT", tmp_path / "weights")
    step, averaged = checkpoint.read_averaged(tmp_path / "runs" / "unbroken")
    checkpoint.keep(tmp_path / "runs" / "unbroken")
    kept_step, kept = checkpoint.read_averaged(tmp_path / "elsewhere" / "unbroken")
    assert kept_step == step == 6
    for one, other in zip(averaged, kept, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-6)
    with (
        np.load(tmp_path / "runs" / "unbroken" / "checkpoint.npz") as unbroken,
        np.load(tmp_path / "runs" / "broken" / "checkpoint.npz") as broken,
    ):
        assert int(broken["step"]) == 6
        for name in unbroken:
            np.testing.assert_allclose(broken[name], unbroken[name], atol=1e-5, err_msg=name)
