"""All settings of the server in one frozen place, filled from flags and environment variables."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import configargparse

from utils.audio import AudioLimits
from utils.embedding import EngineName
from utils.identification import Policy
from utils.quality import QualityRules
from utils.sealing import KEY_VARIABLE
from web.access import Rules
from web.logs import LogFormat

MEBI = 1 << 20
Auto = Literal["auto"]
SPARE_THREADS = 8  # for requests that hear nothing, and for saying no


@dataclass(frozen=True)
class Settings:
    """What an operator can choose; `read_settings` says what each means and where it is set."""

    host: str = "127.0.0.1"
    port: int = 5000
    gallery: Path | str = "gallery"  # a folder, or the address of a database
    gallery_key_file: Path | None = None
    upload_roots: tuple[Path, ...] = (Path("upload"), Path("data"))
    engine: EngineName = "auto"
    processes: int = 1
    threads: int = 4
    max_waiting: int = 32
    max_wait_s: float = 10.0
    engine_threads: int = 1
    max_mb: float = 50.0
    max_seconds: float = 600.0
    max_upload_s: float = 60.0
    max_decode_s: float = 20.0
    decoders: int | Auto = "auto"
    min_speech_s: float = 1.0
    min_enrol_s: float = 3.0
    max_clipped_share: float = 0.25
    max_fpir: float = 0.01
    refuse_duplicates: bool = False
    enrol_two_voices: bool = False
    max_recordings: int = 5
    calibration: Path | None = None
    keep_recordings: bool = False
    rate: int = 600
    open: bool = False
    max_live: int = 2
    log_format: LogFormat = "text"
    stop_s: float = 30.0
    development: bool = False

    def __post_init__(self) -> None:
        positive = ("processes", "threads", "engine_threads", "max_mb", "max_seconds",
                    "max_upload_s", "max_decode_s", "max_recordings", "rate", "max_live", "stop_s",
                    "max_wait_s")  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if not 0 <= self.min_speech_s <= self.min_enrol_s:
            raise ValueError(
                "min_speech_s must be 0 or more and min_enrol_s no less, got "
                f"{self.min_speech_s} and {self.min_enrol_s}"
            )
        for name in ("decoders", "max_waiting"):
            value = getattr(self, name)
            if value != "auto" and value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        _ = self.quality_rules, self.policy  # they check what is theirs

    @property
    def request_threads(self) -> int:
        """Of each process: for whoever is heard, waits, or speaks live, and some for the rest."""
        return self.threads + self.max_waiting + self.max_live + SPARE_THREADS

    @property
    def decoders_wanted(self) -> int:
        """Of each process; `auto` takes those that can be at work at once."""
        if self.decoders != "auto":
            return self.decoders
        return min(self.threads, math.ceil((os.cpu_count() or 1) / self.processes))

    @property
    def audio_limits(self) -> AudioLimits:
        return AudioLimits(
            max_bytes=int(self.max_mb * MEBI),
            max_seconds=self.max_seconds,
            max_decode_s=self.max_decode_s,
        )

    @property
    def quality_rules(self) -> QualityRules:
        return QualityRules(self.min_speech_s, self.min_enrol_s, self.max_clipped_share)

    @property
    def policy(self) -> Policy:
        return Policy(
            max_fpir=self.max_fpir,
            refuse_duplicates=self.refuse_duplicates,
            refuse_two_voices=not self.enrol_two_voices,
            max_recordings=self.max_recordings,
        )

    @property
    def access_rules(self) -> Rules:
        return Rules(rate=self.rate, processes=self.processes, insists_on_open=self.open)


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


def _auto_or_number(text: str) -> int | Auto:
    return "auto" if text == "auto" else int(text)


_auto_or_number.__name__ = "auto or number"  # as argparse calls it where a value has no meaning


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
    add(
        "--gallery",
        default=default.gallery,
        help="folder of the enrolled voices, or postgresql://... for a database that several "
        "machines share",
    )
    add(
        "--gallery-key-file",
        type=Path,
        default=argparse.SUPPRESS,
        help="encrypt the gallery with the key in this file, as `python -m utils.gallery new-key` "
        f"makes one; {KEY_VARIABLE} may hold the key itself instead (default: not encrypted)",
    )
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
        help="recordings heard at once in each process; more wait",
    )
    add(
        "--max-waiting",
        type=int,
        default=default.max_waiting,
        help="recordings that wait in each process; beyond them the answer is 503",
    )
    add(
        "--max-wait-s",
        type=float,
        default=default.max_wait_s,
        help="longest that a recording waits, seconds; then the answer is 503",
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
        "--max-upload-s",
        type=float,
        default=default.max_upload_s,
        help="longest time that a request may take to arrive, seconds",
    )
    add(
        "--max-decode-s",
        type=float,
        default=default.max_decode_s,
        help="longest time that decoding one recording may take, seconds",
    )
    add(
        "--decoders",
        type=_auto_or_number,
        default=default.decoders,
        help="processes that decode, and may do nothing else, of each server process; auto takes "
        "as many as it has cores where the system can do it (Linux), 0 decodes in the server's own",
    )
    add(
        "--min-speech-s",
        type=float,
        default=default.min_speech_s,
        help="least speech that is answered, seconds without pauses",
    )
    add(
        "--min-enrol-s",
        type=float,
        default=default.min_enrol_s,
        help="least speech that is enrolled, seconds without pauses",
    )
    add(
        "--max-clipped-share",
        type=float,
        default=default.max_clipped_share,
        help="of a recording's samples, most that may be cut off at full scale, 0 to 1",
    )
    add(
        "--max-fpir",
        type=float,
        default=default.max_fpir,
        help="share of strangers that may be taken for somebody, whatever the gallery's size",
    )
    add(
        "--refuse-duplicates",
        action="store_true",
        help="enrol no voice that is enrolled under another ID; without it that is only reported",
    )
    add(
        "--enrol-two-voices",
        action="store_true",
        help="enrol recordings in which two people seem to speak, too",
    )
    add(
        "--max-recordings",
        type=int,
        default=default.max_recordings,
        help="enrolment recordings of a speaker that answer together",
    )
    add(
        "--calibration",
        type=Path,
        default=argparse.SUPPRESS,
        help="calibration fitted on your own recordings (default: the shipped one)",
    )
    add(
        "--keep-recordings",
        action="store_true",
        help="keep the recordings that are enrolled, so that a new network can hear them again",
    )
    add(
        "--rate",
        type=int,
        default=default.rate,
        help="requests a minute that each key may send",
    )
    add(
        "--open",
        action="store_true",
        help="let other machines in without any key: whoever reaches the port may do everything",
    )
    add(
        "--max-live",
        type=int,
        default=default.max_live,
        help="people that each process listens to live at once; each keeps a thread busy",
    )
    add(
        "--log-format",
        choices=("text", "json"),
        default=default.log_format,
        help="how the log's lines look, on the standard error",
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
