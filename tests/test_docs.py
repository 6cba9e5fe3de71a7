"""The docs are true and whole where a program can tell: settings, errors, links, figures."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from evaluation import report
from utils.errors import SpeakerServerError
from utils.identification import Answer
from utils.quality import Quality
from web.application import create_app
from web.problems import TYPE, problem
from web.routes import answer_json
from web.schemas import IdentificationFields
from web.settings import Settings

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.ko.md")
BENCHMARK = ROOT / "benchmarks" / "request.json"
SETTING = re.compile(r"(--[a-z-]+) (?:(?! --)[^\[])*\[env var: (\w+)\](?: \(default: ([^)]*)\))?")
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"<(?:[^<>:]+:)?")  # what opens a value in a Flask rule
LINK = re.compile(r"\]\(([^()\s]+)\)")
SENT_BESIDE_THE_SCHEMA = {"file", "ip_address"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def documents() -> list[Path]:
    """Every Markdown file of the project: none in hidden folders, environments and outputs."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.md")]
    return sorted(
        path for path in found if path.parts[0] not in {"out", "upload"} and path.parts[0][0] != "."
    )


def fenced(text: str, language: str | None = None) -> list[str]:
    return [body for _, kind, body in FENCED.findall(text) if language in {None, kind}]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line that is one of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Method and path of every route but those of files that only pages ask for."""
    app = create_app(Settings(decoders=0, gallery=tmp_path_factory.mktemp("gallery")))
    return {
        f"{method} {PLACE.sub(r'{', rule.rule).replace('>', '}')}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.endswith("static")
    }


def leaves(family: type[SpeakerServerError]) -> list[type[SpeakerServerError]]:
    members = family.__subclasses__()
    return [leaf for member in members for leaf in leaves(member)] if members else [family]


def settings_of_the_help() -> list[tuple[str, ...]]:
    """Flag, environment variable and default ("" if it is no plain value) of every setting."""
    shown = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    return SETTING.findall(" ".join(shown.stdout.partition("options:")[2].split()))


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    rows = {row[0]: row[1:3] for row in table_rows(read("docs/settings.md"))}
    documented = {name: row for name, row in rows.items() if name.startswith("`--")}
    settings = settings_of_the_help()
    assert len(settings) >= 14
    assert documented.keys() == {f"`{flag}`" for flag, *_ in settings}
    for flag, variable, default in settings:
        shown_variable, shown_default = documented[f"`{flag}`"]
        assert shown_variable == f"`{variable}`"
        assert shown_default == f"`{default}`" if default else shown_default  # of several values


@pytest.mark.parametrize("error", leaves(SpeakerServerError), ids=lambda error: error.__name__)
def test_every_error_is_documented_as_it_is_answered(error: type[SpeakerServerError]) -> None:
    answered = json.loads(problem(error.status, error.__name__, "").get_data())
    kind = answered["type"].removeprefix(TYPE)
    rows = [row for row in table_rows(read("docs/errors.md")) if row[0] == f"`{error.__name__}`"]
    assert [row[1:3] for row in rows] == [[str(error.status), f"`{kind}`"]]
    assert TYPE in read("docs/errors.md")


@pytest.mark.parametrize("name", READMES)
def test_every_route_and_field_stands_in_the_readme(name: str, routes: set[str]) -> None:
    for route in routes:
        assert f"`{route}`" in read(name) or " /v1/" in route
    described = {row[0] for row in table_rows(read(name))}
    quality = Quality(0.0, 0.0, 0.0, 0.0, None)
    answer = answer_json(Answer("", "identified", 0.0, [], None, quality, False, None, None, {}))
    assert {f"`{field}`" for field in known_fields() | set(answer)} <= described


def test_every_route_stands_in_the_docs_of_the_interface(routes: set[str]) -> None:
    """And no other one; values in a path are written as in the OpenAPI file."""
    first_cells = {row[0] for row in table_rows(read("docs/api.md"))}
    shown = {cell for cell in first_cells if re.fullmatch(r"`[A-Z]+ /\S*`", cell)}
    assert shown == {f"`{route}`" for route in routes}


def test_every_call_of_v1_is_shown_with_its_answer(routes: set[str]) -> None:
    text = read("docs/api.md")
    shown = "\n".join(fenced(text, "bash"))
    for route in routes:
        method, path = route.split(" ")
        if path.startswith("/v1/") and path != "/v1/live":  # a WebSocket: Request.py shows it
            part = re.sub(r"\\\{\w+\\\}", "[^/ ?']+", re.escape(path))
            calls = [
                line for line in shown.splitlines() if re.search(rf"5000{part}(['? ]|$)", line)
            ]
            assert any(
                f"-X {method} " in call or ("-X" not in call and method in {"GET", "POST"})
                for call in calls
            ), route
    assert "Request.py live" in shown
    blocks = FENCED.findall(text)
    for (_, kind, _), (_, _, answer) in itertools.pairwise(blocks):
        assert kind != "bash" or answer.strip()


def known_fields() -> set[str]:
    fields = {field.rstrip("_") for field in IdentificationFields.model_fields}
    return fields | SENT_BESIDE_THE_SCHEMA


def curl_fields(command: str) -> set[str]:
    """The names of the fields that a curl command sends."""
    words = shlex.split(command)
    values = [value for flag, value in itertools.pairwise(words) if flag in {"-F", "-d"}]
    fields: set[str] = set()
    for value in values:
        fields |= set(json.loads(value)) if value.startswith("{") else {value.partition("=")[0]}
    return fields


@pytest.mark.parametrize("name", READMES)
def test_the_curl_examples_send_fields_and_files_that_there_are(name: str) -> None:
    commands = [
        line
        for block in fenced(read(name), "bash")
        for line in block.splitlines()
        if line.startswith("curl ")
    ]
    assert len(commands) >= 7
    for command in commands:
        assert re.search(r" http://127\.0\.0\.1:5000/(Identification_Request|readyz)$", command)
        assert curl_fields(command) <= known_fields(), command
        for path in re.findall(r"@(data/\S+\.mp4)", command):
            assert (ROOT / path).is_file()


def test_both_readmes_show_the_same_commands_and_answers() -> None:
    english, korean = (read(name) for name in READMES)
    assert fenced(english) == fenced(korean)
    assert english.count("\n## ") == korean.count("\n## ")
    assert len(table_rows(english)) == len(table_rows(korean))
    for block in fenced(english, "json"):
        json.loads(block)


def test_the_answers_shown_are_of_the_network_that_is_here() -> None:
    """After an export `python -m evaluation readme` shows the new network's."""
    model_id = json.loads(read("best_model/model.json"))["model_id"]
    assert f'"model_id":"{model_id}"' in read("README.md")


def test_what_is_made_with_make_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for path in documents():
        for target in re.findall(r"`make ([a-z]+)", read(str(path))):
            assert target in targets, f"{path}: make {target}"


@pytest.mark.parametrize("path", documents(), ids=str)
def test_files_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|sh|txt|toml))`", read(str(path))):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("name", READMES)
def test_the_rooms_of_the_picture_and_the_table_exist(name: str) -> None:
    (way,) = (row[1] for row in table_rows(read(name)) if row[0] == "`utils/`")
    drawn = re.findall(r">((?:utils|web)/[^<]*)<", read("img/way.svg"))
    named = [f"utils/{each}" for each in re.findall(r"`([a-z_]+(?:\.py|/))`", way)]
    assert len(drawn) >= 7
    assert len(named) >= 5
    for each in drawn + named:
        assert (ROOT / each).exists(), each


@pytest.mark.parametrize("path", documents(), ids=str)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    text = FENCED.sub("", read(str(path)))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, heading = unquote(link).partition("#")
        there = (ROOT / path).parent / target if target else ROOT / path
        assert there.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, link


@pytest.mark.skipif(not report.REPORT.exists(), reason="no accuracy report was made yet")
@pytest.mark.parametrize("name", report.SHOWN_IN)
def test_the_accuracy_shown_is_what_was_measured(name: str) -> None:
    measured = json.loads(report.REPORT.read_text(encoding="utf-8"))
    assert report.SHOWN_IN[name](measured) in read(name)


def speed_rows(result: dict[str, Any]) -> list[str]:
    """The table lines for a benchmark's galleries: p50, p95, the original way's p50, the ratio."""
    return [
        f"| {int(speakers):,} | {figures['p50_ms']:.1f} | {figures['p95_ms']:.1f} "
        f"| {figures['baseline_p50_ms']:,.0f} | {figures['ratio']:.0f}x |"
        for speakers, figures in result["galleries"].items()
    ]


@pytest.mark.skipif(not BENCHMARK.exists(), reason="no benchmark was made yet")
@pytest.mark.parametrize("name", READMES)
def test_the_speed_shown_is_what_was_measured(name: str) -> None:
    section = read(name).partition("<!-- speed -->\n")[2].partition("<!-- /speed -->")[0]
    shown = [line for line in section.splitlines() if re.match(r"\| [\d,]+ \|", line)]
    assert shown == speed_rows(json.loads(BENCHMARK.read_text(encoding="utf-8")))
