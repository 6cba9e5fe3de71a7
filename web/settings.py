"""All settings of the server in one frozen place, filled from flags and environment variables."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import configargparse

from utils.audio import AudioLimits
from utils.embedding import EngineName

MEBI = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What an operator can choose; `read_settings` says what each means and where it is set."""

    host: str = "127.0.0.1"
    port: int = 5000
    gallery: Path = Path("gallery")
    upload_roots: tuple[Path, ...] = (Path("upload"), Path("data"))
    engine: EngineName = "auto"
    processes: int = 1
    threads: int = 4
    engine_threads: int = 1
    max_mb: float = 50.0
    max_seconds: float = 600.0
    max_decode_s: float = 20.0
    min_speech_s: float = 1.0
    stop_s: float = 30.0
    development: bool = False

    def __post_init__(self) -> None:
        positive = ("processes", "threads", "engine_threads", "max_mb", "max_seconds",
                    "max_decode_s", "stop_s")  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if self.min_speech_s < 0:
            raise ValueError(f"min_speech_s must be 0 or more, got {self.min_speech_s}")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")

    @property
    def audio_limits(self) -> AudioLimits:
        return AudioLimits(
            max_bytes=int(self.max_mb * MEBI),
            max_seconds=self.max_seconds,
            max_decode_s=self.max_decode_s,
        )


def read_settings(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Reads flags, then variables for those not given, then the defaults of `Settings`.

    Exits with a sentence and status 2 where a value has no meaning.
    """
    parser = _parser()
    values = vars(parser.parse_args(arguments, env_vars=environment))
    roots = values.pop("upload_root", Settings.upload_roots)
    try:
        return Settings(**values, upload_roots=tuple(roots))
    except ValueError as error:
        parser.error(str(error))  # exits
        raise


def _parser() -> configargparse.ArgumentParser:
    default = Settings()
    parser = configargparse.ArgumentParser(
        prog="app.py",
        description="The speaker-identification server: who is speaking in this recording?",
        formatter_class=configargparse.ArgumentDefaultsHelpFormatter,
        auto_env_var_prefix="SPEAKER_",
    )
    add = parser.add_argument
    add("--host", default=default.host, help="address to listen on; 0.0.0.0 lets others in")
    add("--port", type=int, default=default.port, help="port to listen on; 0 takes a free one")
    add("--gallery", type=Path, default=default.gallery, help="folder of the enrolled voices")
    add(
        "--upload-root",
        type=Path,
        action="append",
        default=argparse.SUPPRESS,
        help="folder that path_dir may lead to; repeatable (default: ./upload and ./data)",
    )
    add(
        "--engine",
        choices=("auto", "onnx", "int8", "keras"),
        default=default.engine,
        help="what runs the network; auto takes Keras where a GPU can be used",
    )
    add(
        "--processes",
        type=int,
        default=default.processes,
        help="server processes over the one gallery",
    )
    add(
        "--threads",
        type=int,
        default=default.threads,
        help="requests answered at once in each process",
    )
    add(
        "--engine-threads",
        type=int,
        default=default.engine_threads,
        help="CPU threads of one embedding",
    )
    add("--max-mb", type=float, default=default.max_mb, help="largest recording, MiB")
    add(
        "--max-seconds",
        type=float,
        default=default.max_seconds,
        help="longest recording, seconds of sound",
    )
    add(
        "--max-decode-s",
        type=float,
        default=default.max_decode_s,
        help="longest time that decoding one recording may take, seconds",
    )
    add(
        "--min-speech-s",
        type=float,
        default=default.min_speech_s,
        help="least speech that is answered, seconds",
    )
    add(
        "--stop-s",
        type=float,
        default=default.stop_s,
        help="on a stop, seconds that requests already taken may still run",
    )
    add(
        "--development",
        action="store_true",
        help="run Flask's own server, which reloads on changes; not for production",
    )
    return parser  # fmt: skip
