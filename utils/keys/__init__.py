"""API keys: who may ask, enrol or look after which collection. `python -m utils.keys` makes them.

A key is 256 random bits, shown once. Kept is its SHA-256: a secret that nobody could guess needs
no slow hash, and a request is not to pay for one.
"""

from utils.keys.file import KeyFile
from utils.keys.store import Key, KeyStore, Role, allows

__all__ = ["Key", "KeyFile", "KeyStore", "Role", "allows"]
