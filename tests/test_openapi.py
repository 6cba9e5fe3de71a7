"""The server keeps what its OpenAPI file promises, whatever it is sent: schemathesis tries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from evaluation.server import ROOT, running_server
from tests.api import clip
from tests.schemathesis_hooks import KNOWN

CASES = 2  # of every call that are made at random; those at the schema's edges come before
SEED = 20_261_127
LEAST_CASES = 300
# `positive_data_acceptance` and `negative_data_rejection` are left out: a schema cannot say which
# bytes are a recording, and in a form everything is text.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.mark.timeout(300)
def test_whatever_is_sent_the_answer_is_as_promised(tmp_path: Path) -> None:
    with running_server(tmp_path / "gallery") as server:
        for speaker in KNOWN:
            recording = clip(speaker, 0)
            files = {"file": (recording.name, recording.read_bytes())}
            requests.post(f"{server.url}/Identification_Request", files=files, timeout=60)
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "schemathesis"), "run"),
                f"{server.url}/openapi.json",
                *("--phases", "coverage,fuzzing", "--max-examples", str(CASES)),
                *("--seed", str(SEED), "--checks", ",".join(CHECKS)),
                *("--no-shrink", "--suppress-health-check", "all", "--warnings", "off"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=240,
            errors="replace",
        )
        log = server.log.read_text()
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases, done.stdout[-2_000:]
    assert int(cases[1]) >= LEAST_CASES
    assert "Traceback" not in log
