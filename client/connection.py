"""One kept-open connection to a server: keys, timeouts, retries, failures in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

SERVER = "http://127.0.0.1:5000"
KEY_VARIABLE = "SPEAKER_KEY"
# What may be sent again without harm: nothing is changed by asking.
QUESTIONS = ("identify", "verify", "compare", "embed", "segments")
BUSY = frozenset({429, 502, 503})


class RequestFailed(Exception):
    """The server refused, or could not be reached; the message says why.

    `status` and `title` are the answer's, None where there was none.
    """

    def __init__(self, message: str, status: int | None = None, title: str | None = None) -> None:
        super().__init__(message)
        self.status, self.title = status, title


class Connection:
    """One server, with the key that it asks for. Not to be shared between threads."""

    def __init__(
        self,
        server: str = SERVER,
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Connects nowhere yet.

        Args:
            key: the API key; that in the environment variable SPEAKER_KEY unless given.
            collection: that is asked about where the key does not say it.
            timeout_s: seconds to wait for an answer.
        """
        self.server = server.rstrip("/")
        self.timeout_s = timeout_s
        self.key = key or os.environ.get(KEY_VARIABLE)
        self._collection = collection
        self._session = requests.Session()
        if self.key:
            self._session.headers["Authorization"] = f"Bearer {self.key}"
        # a connection that was refused carried no request, so trying again is safe
        careful = Retry(total=None, connect=3, read=0, status=0, other=0, backoff_factor=0.3)
        patient = Retry(
            total=None, connect=3, read=0, other=0, status=4, backoff_factor=0.5,
            status_forcelist=BUSY, allowed_methods=None, raise_on_status=False,
        )  # fmt: skip
        get = patient.new(allowed_methods={"GET"})
        self._session.mount("http://", HTTPAdapter(max_retries=careful))
        self._session.mount("https://", HTTPAdapter(max_retries=careful))
        self._session.mount(f"{self.server}/v1/", HTTPAdapter(max_retries=get))
        for question in QUESTIONS:
            self._session.mount(f"{self.server}/v1/{question}", HTTPAdapter(max_retries=patient))

    def close(self) -> None:
        self._session.close()

    def ask(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, **body: Any
    ) -> requests.Response:
        """Sends one request; `body` as `requests` takes it.

        Raises:
            RequestFailed: the server answered with an error or not at all.
        """
        url = f"{self.server}{path}"
        asked = {**(params or {}), **({"collection": self._collection} if self._collection else {})}
        try:
            reply = self._session.request(method, url, params=asked, timeout=self.timeout_s, **body)
        except requests.ConnectionError as error:
            raise RequestFailed(
                f"no answer from {url}; is the server running? (make serve)"
            ) from error
        except requests.RequestException as error:
            raise RequestFailed(f"{url}: {error}") from error
        if not reply.ok:
            raise _failure(reply)
        return reply

    def ask_json(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, **body: Any
    ) -> dict[str, Any]:
        """The same, for an answer in JSON."""
        reply = self.ask(method, path, params, **body)
        try:
            answer: dict[str, Any] = reply.json()
        except ValueError as error:
            raise RequestFailed(
                f"{reply.url} answered {reply.status_code} without JSON", reply.status_code
            ) from error
        return answer


def _failure(reply: requests.Response) -> RequestFailed:
    try:
        problem = reply.json()
        title, detail = problem["title"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        return RequestFailed(
            f"{reply.url} answered {reply.status_code} without JSON", reply.status_code
        )
    return RequestFailed(f"{reply.status_code} {title}: {detail}", reply.status_code, title)
