"""Batches of degraded log-mel windows with their targets, made in worker processes.

Batch n of a run is a pure function of the run's seed and n: a run that is taken up again, or
that has another number of workers, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty, Full

import numpy as np

from training.corpus import Corpus, load_corpus
from training.degrade import DegradationSettings, degrade, mask, of_run
from training.settings import RunSettings
from training.targets import make_targets
from training.windows import ANYWHERE, cut
from utils.features import FeatureSettings, log_mel

Batch = tuple[np.ndarray, dict[str, np.ndarray]]

WAIT_S = 5.0  # between two looks whether the process at the other end is alive


class BatchMaker:
    """Makes the batches of one run."""

    def __init__(
        self,
        corpus: Corpus,
        settings: RunSettings,
        embedding_size: int,
        features: FeatureSettings = FeatureSettings(),
        degradations: DegradationSettings | None = None,
    ) -> None:
        self.corpus = corpus
        self.settings = settings
        self.features = features
        self.degradations = degradations or of_run(settings)
        self.targets = make_targets(corpus, settings, embedding_size)

    def make(self, number: int) -> Batch:
        """Batch `number`.

        Returns:
            float16 (batch_size, frames, n_mels) log-mel, degraded, and what the network is to say
            of it: `unit`, float32 (batch_size, embedding_size), and `speaker`, int32 (batch_size,).
        """
        rng = np.random.default_rng((self.settings.seed, number))
        targets = self.targets
        picked = rng.choice(len(targets.chances), self.settings.batch_size, p=targets.chances)
        waves = np.stack([self.degraded_window(targets.windows[row], rng) for row in picked])
        inputs = log_mel(waves, self.features)
        for window in inputs:
            mask(window, self.degradations, rng)
        wanted = {"unit": targets.unit[picked], "speaker": targets.speaker[picked]}
        return inputs.astype(np.float16), wanted

    def degraded_window(self, window: np.void, rng: np.random.Generator) -> np.ndarray:
        """(window_samples,) of this `windows.WINDOW`, degraded, peak 1.

        Of one from anywhere now and then only 1 to 2 s, repeated as `utils.features.windows` does.
        """
        size = samples = self.features.window_samples
        if window["start"] == ANYWHERE and rng.random() < self.settings.short_chance:
            samples = int(rng.integers(size // 2, size))
        wave = cut(self.corpus.speech, window, samples, rng)
        speaker = self.corpus.speech.labels[window["recording"]]
        wave = np.resize(degrade(wave, self.corpus, self.degradations, rng, speaker), size)
        return wave / max(float(np.abs(wave).max()), 1e-6)


def stream_batches(
    speech: Path,
    cache: Path,
    numbers: range,
    workers: int,
    settings: RunSettings,
    embedding_size: int,
) -> Iterator[Batch]:
    """Yields the batches of these numbers in order, a few made ahead by each worker."""
    load_corpus(speech, cache)  # decoded here once, not by each worker
    context = get_context("spawn")  # the trainer has threads, which a fork would cut off
    queues = [context.Queue(maxsize=4) for _ in range(workers)]
    processes = [
        context.Process(
            target=_work,
            args=(speech, cache, numbers[worker::workers], queue, settings, embedding_size),
            daemon=True,
        )
        for worker, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        for index in range(len(numbers)):
            worker = index % workers
            yield _next_batch(queues[worker], processes[worker])
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _next_batch(queue: Queue, process: BaseProcess) -> Batch:
    """Waits for a batch, and for no worker that has died."""
    while True:
        try:
            return queue.get(timeout=WAIT_S)
        except Empty:
            if not process.is_alive():
                raise RuntimeError(
                    "a worker that makes batches died; see its error above"
                ) from None


def _work(
    speech: Path,
    cache: Path,
    numbers: range,
    queue: Queue,
    settings: RunSettings,
    embedding_size: int,
) -> None:
    maker = BatchMaker(load_corpus(speech, cache), settings, embedding_size)
    trainer = parent_process()
    for number in numbers:
        batch = maker.make(number)
        while True:
            try:
                queue.put(batch, timeout=WAIT_S)
                break
            except Full:
                if trainer is not None and not trainer.is_alive():
                    return
