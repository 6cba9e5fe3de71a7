"""What is kept of a voice: as it is, or sealed with a key of the operator's.

Sealed is encrypted and authenticated by AES-256-GCM (NIST SP 800-38D), with a nonce drawn for each
and bound to a name: what is sealed as one recording cannot be put in the place of another.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from utils.errors import NotReady

KEY_VARIABLE = "SPEAKER_GALLERY_KEY"  # holds the key itself
KEY_FILE_VARIABLE = "SPEAKER_GALLERY_KEY_FILE"
_KEY_BYTES = 32
_NONCE_BYTES = 12  # drawn at random they stay apart for 2**32 seals of one key
_MARK = b"SIS1"
_TAG_BYTES = 16


class Seal(ABC):
    """How one gallery keeps what it keeps."""

    key_id: str | None
    """Tells keys apart without telling anything of them; None: nothing is sealed."""
    overhead: int
    """Bytes by which what is kept is longer."""

    @abstractmethod
    def seal(self, data: bytes, name: str) -> bytes:
        """What is kept of some bytes, under a name that `unseal` must be told again."""

    @abstractmethod
    def unseal(self, kept: bytes, name: str) -> bytes:
        """The bytes again.

        Raises:
            ValueError: they are not what was sealed under this name with this key.
        """


class NoSeal(Seal):
    """Keeps everything as it is."""

    key_id = None
    overhead = 0

    def seal(self, data: bytes, name: str) -> bytes:
        return data

    def unseal(self, kept: bytes, name: str) -> bytes:
        return kept


NO_SEAL = NoSeal()


class KeySeal(Seal):
    """Seals with a key."""

    overhead = len(_MARK) + _NONCE_BYTES + _TAG_BYTES

    def __init__(self, key: bytes) -> None:
        """Takes a key of 32 bytes, each of them random.

        Raises:
            ValueError: another length.
        """
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a key has {_KEY_BYTES} bytes, got {len(key)}")

        def derived(length: int, use: bytes) -> bytes:  # RFC 5869
            return HKDF(hashes.SHA256(), length, salt=None, info=use).derive(key)

        self._cipher = AESGCM(derived(_KEY_BYTES, b"speaker gallery: seal"))
        self.key_id = derived(8, b"speaker gallery: key ID").hex()

    def seal(self, data: bytes, name: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + nonce + self._cipher.encrypt(nonce, data, name.encode())

    def unseal(self, kept: bytes, name: str) -> bytes:
        body_at = len(_MARK) + _NONCE_BYTES
        if not kept.startswith(_MARK):
            raise ValueError("not encrypted: it was not written by this gallery")
        try:
            return self._cipher.decrypt(kept[len(_MARK) : body_at], kept[body_at:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise ValueError("damaged, or encrypted as something else") from error


def make_key() -> str:
    """A new key, as `find_seal` reads it."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def find_seal(key_file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Seal:
    """The seal of the key that a file holds, or else the environment; without one, `NoSeal`.

    Raises:
        NotReady: the file cannot be read, or what is there is no key.
    """
    if key_file is None and KEY_FILE_VARIABLE in environment:
        key_file = Path(environment[KEY_FILE_VARIABLE])
    if key_file is None:
        text = environment.get(KEY_VARIABLE)
        return NO_SEAL if text is None else _seal_of(text, KEY_VARIABLE)
    try:
        return _seal_of(key_file.read_text(encoding="ascii"), str(key_file))
    except OSError as error:
        raise NotReady(f"The key file {key_file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _no_key(str(key_file)) from error


def add_key_option(parser: argparse.ArgumentParser) -> None:
    """Lets a command ask for the key of the gallery that it opens."""
    parser.add_argument(
        "--key-file",
        type=Path,
        help=f"of an encrypted gallery; without it {KEY_FILE_VARIABLE} names one, or "
        f"{KEY_VARIABLE} holds the key itself",
    )


def check_key(kept: str | None, seal: Seal, is_empty: Callable[[], bool]) -> bool:
    """Whether an empty gallery is to be marked as sealed with this key.

    Args:
        kept: the `key_id` that the gallery is marked with; None: it is not.
        is_empty: asked only where it matters.

    Raises:
        NotReady: the gallery is kept in another way.
    """
    if kept == seal.key_id:
        return False
    if kept is None:
        if is_empty():
            return True
        raise NotReady(
            "The gallery is not encrypted, and a key was given. Encrypt it by copying it: "
            "`python -m utils.gallery copy FROM TO --target-key-file FILE`, without the key here."
        )
    if seal.key_id is None:
        raise NotReady(
            f"The gallery is encrypted, with the key {kept}: give it by --gallery-key-file or in "
            f"{KEY_VARIABLE} (commands: --key-file)."
        )
    raise NotReady(
        f"The gallery is encrypted with the key {kept}, and {seal.key_id} was given; find the "
        "other one: without it nothing here can be read."
    )


def _seal_of(text: str, where: str) -> Seal:
    try:
        return KeySeal(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        raise _no_key(where) from error


def _no_key(where: str) -> NotReady:
    return NotReady(
        f"There is no key in {where}: it has 32 bytes in base64, as "
        "`python -m utils.gallery new-key FILE` makes them."
    )
