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

from training.corpus import Corpus, load_corpus, teacher_projection
from training.degrade import DegradationSettings, degrade, mask, random_part
from utils.features import FeatureSettings, log_mel

Batch = tuple[np.ndarray, np.ndarray]

WAIT_S = 5.0  # between two looks whether the process at the other end is alive


class BatchMaker:
    """Makes the batches of one run."""

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        embedding_size: int,
        seed: int,
        features: FeatureSettings = FeatureSettings(),
        degradations: DegradationSettings = DegradationSettings(),
    ) -> None:
        self.corpus = corpus
        self.batch_size = batch_size
        self.seed = seed
        self.features = features
        self.degradations = degradations
        mean, axes = teacher_projection(corpus.teacher, embedding_size)
        targets = (corpus.teacher - mean) @ axes
        self.targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
        _, speaker, counts = np.unique(
            corpus.speech.labels, return_inverse=True, return_counts=True
        )
        chances = counts[speaker] ** -0.5  # between all recordings alike and all speakers alike
        self.chances = chances / chances.sum()

    def make(self, number: int) -> Batch:
        """Batch `number`.

        Returns:
            float16 (batch_size, frames, n_mels) log-mel, degraded; float32 (batch_size,
            embedding_size) targets: the teacher's embeddings of the clean whole recordings,
            reduced by PCA, of length 1.
        """
        rng = np.random.default_rng((self.seed, number))
        picked = rng.choice(len(self.corpus.speech), self.batch_size, p=self.chances)
        waves = np.stack([self.degraded_window(int(index), rng) for index in picked])
        inputs = log_mel(waves, self.features)
        for window in inputs:
            mask(window, self.degradations, rng)
        return inputs.astype(np.float16), self.targets[picked]

    def degraded_window(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """(window_samples,) from a random place of a recording, degraded, peak 1."""
        samples = self.features.window_samples
        wave = random_part(self.corpus.speech, index, samples, rng)
        wave = degrade(wave, self.corpus, self.degradations, rng)
        return wave / max(float(np.abs(wave).max()), 1e-6)


def stream_batches(
    speech: Path, cache: Path, numbers: range, workers: int, **maker_options: int
) -> Iterator[Batch]:
    """Yields the batches of these numbers in order, a few made ahead by each worker."""
    load_corpus(speech, cache)  # decoded here once, not by each worker
    context = get_context("spawn")  # the trainer has threads, which a fork would cut off
    queues = [context.Queue(maxsize=4) for _ in range(workers)]
    processes = [
        context.Process(
            target=_work,
            args=(speech, cache, numbers[worker::workers], queue, maker_options),
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
    speech: Path, cache: Path, numbers: range, queue: Queue, maker_options: dict[str, int]
) -> None:
    maker = BatchMaker(load_corpus(speech, cache), **maker_options)
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
