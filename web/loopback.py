"""What is this machine, and nobody else's: addresses, and names in a request's Host."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own, whatever a name server says.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "a.org")]
        [True, True, True, False, False]
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def host_of(authority: str) -> str:
    """The host out of a Host header, "host:port" or alone; empty where it is none.

    Example:
        >>> host_of("[::1]:5000"), host_of("localhost"), host_of("a b")
        ('::1', 'localhost', '')
    """
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port  # is checked when it is asked for
    except ValueError:
        return ""
    return "" if set(authority) & set(" \t/\\@?#") else parts.hostname or ""
