"""Who may ask what: every route's role, the key of a request, and how often it may come.

Without any key the server is open to this machine alone, and to programs rather than to pages: a
request under another name than this machine's (DNS rebinding) or from another site's page is
refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flask import Flask, g, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from utils.collections import DEFAULT
from utils.errors import BadKey, NotAllowed, TooManyRequests
from utils.keys import Key, KeyStore, Role, allows
from web.loopback import host_of, is_loopback

Needed = Literal["open"] | Role

ROLES: Mapping[tuple[str, str], Needed] = {
    ("POST", "/Identification_Request"): "identify",
    ("GET", "/"): "open",
    ("GET", "/console/<path:filename>"): "open",
    ("GET", "/healthz"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "admin",
    ("GET", "/docs"): "open",
    ("GET", "/docs/page/<path:filename>"): "open",
    ("GET", "/docs/swagger/<path:filename>"): "open",
    ("GET", "/openapi.json"): "open",
    ("POST", "/v1/identify"): "identify",
    ("POST", "/v1/verify"): "identify",
    ("POST", "/v1/compare"): "identify",
    ("POST", "/v1/identify/batch"): "identify",
    ("POST", "/v1/segments"): "identify",
    ("POST", "/v1/embed"): "admin",
    ("GET", "/v1/live"): "identify",
    ("GET", "/v1/speakers"): "enrol",
    ("POST", "/v1/speakers"): "enrol",
    ("GET", "/v1/speakers/<speaker_id>"): "enrol",
    ("PATCH", "/v1/speakers/<speaker_id>"): "enrol",
    ("DELETE", "/v1/speakers/<speaker_id>"): "admin",
    ("POST", "/v1/speakers/<speaker_id>/recordings"): "enrol",
    ("PUT", "/v1/speakers/<speaker_id>/recordings"): "enrol",
    ("DELETE", "/v1/speakers/<speaker_id>/recordings/<number>"): "admin",
    ("GET", "/v1/gallery"): "identify",
    ("GET", "/v1/gallery/look-alikes"): "admin",
    ("GET", "/v1/gallery/export"): "admin",
    ("POST", "/v1/gallery/import"): "admin",
    ("POST", "/v1/gallery/purge"): "admin",
    ("GET", "/v1/collections"): "admin",
    ("POST", "/v1/collections"): "admin",
    ("DELETE", "/v1/collections/<name>"): "admin",
}
"""What a route asks for. A route that is not here is refused: it was forgotten."""

FAILED_KEYS_A_MINUTE = 20  # of one address: nobody mistypes more often


@dataclass(frozen=True)
class Rules:
    """What an operator decides about access."""

    rate: int = 600  # requests a minute of one key
    processes: int = 1  # that share them
    insists_on_open: bool = False  # to be reached by other machines without any key


@dataclass(frozen=True)
class _Limits:
    """Counts in this process; several processes have a part of the rate each."""

    rules: Rules
    _limiter: MovingWindowRateLimiter = field(
        default_factory=lambda: MovingWindowRateLimiter(MemoryStorage())
    )

    def count(self, key: Key) -> None:
        share = RateLimitItemPerMinute(math.ceil(self.rules.rate / self.rules.processes))
        if not self._limiter.hit(share, "key", key.key_id):
            self._refuse(share, f"This key may ask {self.rules.rate} times a minute", key.key_id)

    def count_failure(self, address: str) -> None:
        self._limiter.hit(RateLimitItemPerMinute(FAILED_KEYS_A_MINUTE), "failed", address)

    def check_failures(self, address: str) -> None:
        share = RateLimitItemPerMinute(FAILED_KEYS_A_MINUTE)
        if not self._limiter.test(share, "failed", address):
            self._refuse(share, "Too many wrong keys came from this address", address, "failed")

    def _refuse(self, share: RateLimitItemPerMinute, why: str, who: str, kind: str = "key") -> None:
        reset_at = self._limiter.get_window_stats(share, kind, who).reset_time
        wait_s = max(1, math.ceil(reset_at - time.time()))
        raise TooManyRequests(f"{why}; try again in {wait_s} s.", wait_s)


def guard(app: Flask, keys: KeyStore, rules: Rules) -> None:
    """Has an application ask every request for what its route needs.

    Afterwards `flask.g` has `role`, `collection`, `exact` (whether scores are shown as they are)
    and `key_id` (None without keys).
    """
    limits = _Limits(rules)
    needs_keys = [False]  # once there were keys, their file's loss opens nothing

    @app.before_request
    def _check() -> None:
        g.role, g.key_id, g.exact = "admin", None, True
        g.collection = request.args.get("collection", DEFAULT)
        if request.url_rule is None:
            return  # 404, 405: the framework's
        method = "GET" if request.method == "HEAD" else request.method
        needed = "open" if method == "OPTIONS" else ROLES.get((method, request.url_rule.rule))
        if needed == "open":
            return
        if needed is None:
            raise NotAllowed("This route has no role yet; nobody may use it.")
        _refuse_other_sites()
        needs_keys[0] = needs_keys[0] or keys.is_configured()
        if not needs_keys[0]:
            if not rules.insists_on_open:
                _require_loopback()
            return
        key = _key_of_request(keys, limits)
        limits.count(key)
        if not allows(key.role, needed):
            raise NotAllowed(f"This key may {key.role}; this needs one that may {needed}.")
        if g.collection not in {key.collection, DEFAULT}:
            raise NotAllowed(f"This key is for the collection {key.collection!r}.")
        g.role, g.key_id, g.collection = key.role, key.key_id, key.collection
        g.exact = key.role == "admin"


def may(role: Role) -> bool:
    """Whether this request's key may do what a role is needed for."""
    return allows(g.get("role", "admin"), role)


def _key_of_request(keys: KeyStore, limits: _Limits) -> Key:
    address = request.remote_addr or ""
    limits.check_failures(address)
    text = _sent_key()
    if not text:
        raise BadKey("A key is needed; send it as `Authorization: Bearer KEY`.")
    key = keys.find(text)
    if key is None:
        limits.count_failure(address)
        raise BadKey("The key is unknown or revoked; ask whoever runs the server for another.")
    return key


def _sent_key() -> str:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return text.strip()
    protocols = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    as_protocol = [each.strip() for each in protocols if each.strip().startswith("key.")]
    if as_protocol:  # a page can give its WebSocket no other header
        return as_protocol[0].removeprefix("key.")
    return request.headers.get("X-API-Key", "")


def _require_loopback() -> None:
    if not (is_loopback(host_of(request.host)) and is_loopback(request.remote_addr or "")):
        raise NotAllowed(
            "Without keys this server answers its own machine only; make one with "
            "`python -m utils.keys create`."
        )


def _refuse_other_sites() -> None:
    """A page of another site may post a form anywhere, without asking; browsers say who it is."""
    origin = request.headers.get("Origin")
    elsewhere = origin is not None and origin.partition("://")[2] != request.host
    if elsewhere or request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        raise NotAllowed("Pages of other sites may not ask this server; let a program ask.")
