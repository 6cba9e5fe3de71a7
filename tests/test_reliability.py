"""The trials of docs/reliability.md, for some seconds: that they find what is lost, and nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability import faults, load
from reliability.traffic import Ledger
from tests.api import application


def test_the_ledger_tells_what_is_lost_and_what_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application(tmp_path) as client:

        class Reply:
            def json(self) -> object:
                return client.get("/v1/speakers?limit=100").get_json()

        monkeypatch.setattr("reliability.traffic.requests.get", lambda *_, **__: Reply())
        ledger = Ledger(enrolled={"kim", "not answered"}, unknown={"not answered"})
        assert ledger.missing("") == ["lost: kim"]
        ledger.statuses.update({("enrol", 500): 2, ("identify", 503): 3, ("identify", 200): 9})
        assert ledger.errors == {"enrol 500": 2}


def test_some_seconds_of_load_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "CAPACITY_S", 1.0)
    document = load.measure(minutes=0.05, overload_s=2.0, processes=1)
    assert document["failures"] == []
    assert document["overload"]["refused"] > 0
    assert "requests/s" in load.table(document)


def test_decoders_that_are_killed_lose_nothing() -> None:
    name = "decoding processes killed"
    document = faults.try_faults([name], 2.0)
    assert document["faults"][name]["failures"] == []
    assert document["faults"][name]["times"] > 0
    assert name in faults.table(document)
