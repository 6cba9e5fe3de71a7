"""Sends the real server requests that nobody's client makes, and looks whether it holds.

Paths that lead elsewhere, links swapped while they are followed, archives that name other places,
broken HTTP, clients that send a byte now and then, guessed keys, IDs that look alike. Every attack
says what was tried, what came back, and whether that is as it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from scipy.stats import mannwhitneyu
from tqdm import tqdm

from evaluation.files import write_figures
from evaluation.server import ServerProcess, running_server
from utils.keys import KeyFile

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
JSON = ROOT / "reliability" / "requests.json"
PAGE, MARK = ROOT / "docs" / "reliability.md", "requests"
TIMEOUT_S = 30.0
RACE_S = 5.0
SLOW_CLIENTS = 30
SLOW_S = 6.0
KEYS_TIMED = 4_000
LEAST_P = 0.001  # of two samples of times; below it they differ
INSIDE, OUTSIDE = "ast1@example.org", "ast2@example.org"


@dataclass(frozen=True)
class Found:
    """What one attack came to."""

    attack: str
    tried: int
    answered: str
    held: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")


def run(arguments: argparse.Namespace) -> int:
    """`python -m reliability requests`: 1 if anything did not hold."""
    found = [attack() for attack in tqdm(ATTACKS, unit="attack", disable=None)]
    document = {"attacks": [asdict(each) for each in found]}
    print(table(document))
    if arguments.write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 0 if all(each.held for each in found) else 1


def table(document: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| attack | tried | answered | held |", "|---|---|---|---|"]
    for each in document["attacks"]:
        held = "yes" if each["held"] else "**no**"
        lines.append(f"| {each['attack']} | {each['tried']:,} | {each['answered']} | {held} |")
    return "\n".join(lines)


# Paths


def paths() -> Found:
    """Folders and names that lead out of the upload roots."""
    with _server_with_roots() as (server, root, outside):
        (root / "link").symlink_to(outside)
        (root / f"{INSIDE}-9.mp4").symlink_to(outside / f"{OUTSIDE}-0.mp4")
        os.mkfifo(root / f"{INSIDE}-8.mp4")
        name = f"{OUTSIDE}-0.mp4"
        up = os.path.relpath(outside, root)
        pairs = [
            (str(outside), name),
            (f"{root}/{up}", name),
            (f"{root}/./{up}/.", name),
            (f"{root}/link", name),
            (f"{root}//link//", name),
            (f"{root}/{up}".replace("..", "%2e%2e"), name),
            (f"{root}/{up}".replace("/", "\\"), name),
            (f"file://{outside}", name),
            (f"~/{name}", name),
            (str(root), f"{INSIDE}-9.mp4"),
            (str(root), f"{INSIDE}-8.mp4"),
            (str(root), f"{up}/{name}"),
            (str(root), f"{outside}/{name}"),
            (str(root), f"..\\{name}"),
            (f"{root}\0{outside}", name),
            (str(root), f"{OUTSIDE}\0-0.mp4"),
            (str(root) + "/a" * 3_000, name),
            (f"{root}/{'x' * 5_000}", name),
            ("/proc/self/root" + str(outside), name),
            ("/proc/self/fd", "x-0.mp4"),
            ("/dev", "zero-0.mp4"),
            ("", name),
        ]
        codes = []
        for path_dir, each in pairs:
            for sent in ({"data": {"name": each, "path_dir": path_dir}},
                         {"json": {"name": each, "path_dir": path_dir}}):  # fmt: skip
                codes.append(_post(server, "/Identification_Request", **sent).status_code)
        return _all_refused("paths out of the upload roots", codes)


def races() -> Found:
    """A file, and a folder, in an upload root that become links to elsewhere and back."""
    with _server_with_roots() as (server, root, outside):
        clips = {who: (DATA / f"{who}-1.mp4").read_bytes() for who in (INSIDE, OUTSIDE)}
        (root / "folder").mkdir()
        real, link = root / "real", root / "to-elsewhere"
        secret = outside / "new-0.mp4"
        secret.write_bytes(clips[OUTSIDE])
        for place in (root, root / "folder"):
            (place / "new-0.mp4").write_bytes(clips[INSIDE])
        stop = threading.Event()

        def swap() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                with suppress(OSError):
                    if number % 2:
                        link.symlink_to(secret)
                        link.replace(root / "new-0.mp4")
                        (root / "folder").rename(real)
                        (root / "folder").symlink_to(outside)
                    else:
                        link.write_bytes(clips[INSIDE])
                        link.replace(root / "new-0.mp4")
                        (root / "folder").unlink()
                        real.rename(root / "folder")

        swapping = threading.Thread(target=swap)
        swapping.start()
        seen: Counter[str] = Counter()
        until = time.monotonic() + RACE_S
        while time.monotonic() < until:
            for place in (root, root / "folder"):
                fields = {"name": "new-0.mp4", "path_dir": str(place), "register": "False"}
                reply = _post(server, "/Identification_Request", data=fields)
                is_secret = reply.ok and reply.json()["speaker_id"] == OUTSIDE
                seen["the outside" if is_secret else str(reply.status_code)] += 1
        stop.set()
        swapping.join()
        held = not seen["the outside"] and bool(seen["200"]) and not any(s[0] == "5" for s in seen)
        return Found("links swapped while they are followed", sum(seen.values()), _told(seen), held)


def archives() -> Found:
    """Archives that name other places, hold links, or are small and want to be large."""
    with tempfile.TemporaryDirectory() as name, running_server(Path(name) / "g") as server:
        _enrol(server)
        gallery = Path(name) / "g"
        before = _files(Path(name))
        good = requests.get(f"{server.url}/v1/gallery/export", timeout=TIMEOUT_S).content
        codes = []
        for each in _bad_archives(good):
            files = {"archive": ("a.zip", each)}
            codes.append(_post(server, "/v1/gallery/import", files=files).status_code)
        new = {path for path in _files(Path(name)) - before if not path.startswith("g/")}
        found = _all_refused("archives that name other places, or bombs", codes)
        listed = requests.get(f"{server.url}/v1/speakers", timeout=TIMEOUT_S).json()["total"]
        return Found(found.attack, found.tried, found.answered,
                     found.held and not new and listed == 2 and gallery.is_dir())  # fmt: skip


def _bad_archives(good: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    one = next(part for part in parts if part.startswith("embeddings/"))
    for to in ("../../out.npy", "/srv/out.npy", "..\\out.npy", "C:\\out.npy", "/etc/passwd",
               "embeddings/../../../x.npy", "a\0b"):  # fmt: skip
        changed = json.loads(json.dumps(manifest))
        changed["speakers"][0]["recordings"][0]["file"] = to
        yield _zip({**parts, "manifest.json": json.dumps(changed).encode()})  # named, not there
    for speaker_id in ("../../x", "/etc/x", "..", "a\0b", "a/b", "a\\b", "x" * 10_000):
        changed = json.loads(json.dumps(manifest))
        changed["speakers"][0]["speaker_id"] = speaker_id
        yield _zip({**parts, "manifest.json": json.dumps(changed).encode()})
    link = zipfile.ZipInfo(one)
    link.external_attr = 0o120777 << 16  # a symbolic link
    yield _zip({**{k: v for k, v in parts.items() if k != one}}, (link, b"/etc/passwd"))
    changed = json.loads(json.dumps(manifest))
    bomb = bytes(100 << 20)
    changed["speakers"][0]["recordings"][0]["sha256"] = hashlib.sha256(bomb).hexdigest()
    yield _zip({**parts, one: bomb, "manifest.json": json.dumps(changed).encode()}, packed=True)
    yield _zip({**parts, "manifest.json": b"[" * (65 << 20)}, packed=True)
    yield _zip({**parts, "manifest.json": b"[" * 100_000})
    yield good[: len(good) // 2]
    yield good[:-30] + bytes(30)
    yield b"PK\3\4" + bytes(100)


def _zip(
    parts: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes], packed: bool = False
) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(
        target, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    ) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        for info, data in more:
            archive.writestr(info, data)
    return target.getvalue()


# HTTP


def broken_http() -> Found:
    """Heads and bodies that break the rules: answered 4xx, or the connection is closed."""
    form = b"name=a-0.mp4&path_dir=x"
    type_ = b"Content-Type: application/x-www-form-urlencoded\r\n"
    multi = b"Content-Type: multipart/form-data; boundary=b\r\n"

    def post(head: bytes, body: bytes = b"", path: bytes = b"/Identification_Request") -> bytes:
        return b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" + body

    def sized(head: bytes, body: bytes) -> bytes:
        return post(head + b"Content-Length: %d\r\n" % len(body), body)

    part = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    broken = [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post(b"X: " + b"a" * 200_000 + b"\r\n"),
        post(b"".join(b"X%d: a\r\n" % number for number in range(2_000))),
        post(type_ + b"Content-Length: 5\r\nContent-Length: 23\r\n", form),
        post(type_ + b"Content-Length: -1\r\n", form),
        post(type_ + b"Content-Length: 1e3\r\n", form),
        post(type_ + b"Content-Length: 99999999999999999999999\r\n", form),
        post(type_ + b"Transfer-Encoding: chunked\r\nContent-Length: 23\r\n", b"0\r\n\r\n"),
        post(type_ + b"Transfer-Encoding: chunked\r\n", b"zz\r\nnonsense\r\n"),
        post(type_ + b"Transfer-Encoding: chunked\r\n", b"-5\r\nnonsense\r\n0\r\n\r\n"),
        post(type_ + b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        post(type_ + b"Transfer-Encoding: xchunked\r\n", form),
        post(b"X: a\0b\r\n"),
        post(b"X : a\r\n"),
        post(b" folded: a\r\n"),
        b"POST /Identification_Request HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST http:///\0 HTTP/1.1\r\n\r\n",
        b"\0" * 5_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        sized(multi.replace(b"; boundary=b", b""), b"--b--\r\n"),
        sized(multi.replace(b"=b", b"=" + b"b" * 5_000), b"--b--\r\n"),
        sized(multi, b"".join(part % number for number in range(5_000)) + b"--b--\r\n"),
        sized(multi, b"--b\r\n" + b"X: a\r\n" * 50_000 + b"\r\n\r\n--b--\r\n"),
        sized(multi, b"--b\r\nContent-Disposition: form-data; name=\0\r\n\r\nx\r\n--b--\r\n"),
        sized(multi, b"--b" * 100_000),
        sized(type_, b"&".join(b"f%d=1" % number for number in range(50_000))),
        sized(type_, b"name=a-0.mp4&name=b-0.mp4&path_dir=/etc&path_dir=data"),
        sized(type_, b"name=" + b"%00" * 1_000 + b"&path_dir=%00"),
        sized(type_, b"name=a-0.mp4&path_dir=" + b"x" * (2 << 20)),
        sized(b"Content-Type: application/json\r\n", b"[" * 200_000),
        sized(b"Content-Type: application/json\r\n", b'{"name":' * 50_000),
        sized(b"Content-Type: application/json\r\n", b'{"name": 1e999999, "path_dir": []}'),
        sized(b"Content-Type: application/json\r\n", b"\xff\xfe\0\0"),
    ]
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as server:
        codes = [_raw(server.port, each) for each in tqdm(broken, "broken HTTP", leave=False)]
        found = _all_refused("broken HTTP", codes)
        return Found(found.attack, found.tried, found.answered, found.held and _is_well(server))


def slow_clients() -> Found:
    """Clients that send a byte of their head or body now and then, while a good one asks."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name)) as server,
        ExitStack() as open_ones,
    ):
        slow = []
        for number in range(SLOW_CLIENTS):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            head = b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\n"
            body = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n-"
            one.sendall(head + (body if number % 2 else b""))
            slow.append(one)
        waits, until = [], time.monotonic() + SLOW_S
        while time.monotonic() < until:
            for one in slow:
                with suppress(OSError):
                    one.sendall(b"X")
            started = time.monotonic()
            with suppress(requests.RequestException):
                if requests.get(f"{server.url}/readyz", timeout=SLOW_S).ok:
                    waits.append(time.monotonic() - started)
            time.sleep(0.2)
        longest = 1e3 * max(waits, default=np.inf)
        told = f"the good client {len(waits)} times, after {longest:.0f} ms at most"
        attack = f"{SLOW_CLIENTS} clients that dribble"
        return Found(attack, SLOW_CLIENTS, told, bool(waits) and longest < 1_000)


# Keys and IDs


def guessed_keys() -> Found:
    """Wrong keys over HTTP: after 20 a minute the address waits."""
    with tempfile.TemporaryDirectory() as name:
        key, _ = KeyFile(Path(name)).create("admin", "default")
        with running_server(Path(name)) as server:
            wrong = [key[: 13 + n] + secrets.token_urlsafe(64)[: 43 - n] for n in range(40)]
            codes: Counter[str] = Counter()
            for each in wrong:
                headers = {"Authorization": f"Bearer {each}"}
                url = f"{server.url}/v1/gallery"
                codes[str(requests.get(url, headers=headers, timeout=TIMEOUT_S).status_code)] += 1
    return Found("keys guessed", len(wrong), _told(codes), codes == {"401": 20, "429": 20})


def timed_keys() -> Found:
    """Does a wrong key take longer the more of it is right? Mann-Whitney, in turns."""
    with tempfile.TemporaryDirectory() as name:
        store = KeyFile(Path(name))
        key, _ = store.create("identify", "default")
        ours = key[:13]  # with its ID
        nearly, other = key[:-1] + ("A" if key[-1] != "A" else "B"), ours + "A" * 43
        unknown = "sis_" + "0" * 8 + "_" + "A" * 43
        times: dict[str, list[int]] = {nearly: [], other: [], unknown: []}
        random = np.random.default_rng(1)
        for _ in range(KEYS_TIMED):
            for text in random.permutation(list(times)):  # what came before takes its part
                taken = times[text]
                started = time.perf_counter_ns()
                store.find(str(text))
                taken.append(time.perf_counter_ns() - started)
    p_prefix = mannwhitneyu(times[nearly], times[other]).pvalue
    p_known = mannwhitneyu(times[other], times[unknown]).pvalue
    told = (
        f"medians {np.median(times[nearly]) / 1e3:.1f} us with 42 of 43 characters right, "
        f"{np.median(times[other]) / 1e3:.1f} us with none (p {p_prefix:.2f}), "
        f"{np.median(times[unknown]) / 1e3:.1f} us with an unknown ID (p {p_known:.2g})"
    )
    return Found("keys told apart by time", 3 * KEYS_TIMED, told, bool(p_prefix > LEAST_P))


def alike_ids() -> Found:
    """IDs that are one in Unicode's normal form, and IDs that only look alike."""
    texts = ["kim", "Kim", "KIM", "ki\u0307m", "k\u0456m", "\uff4bim", "\u212aim", "kim ", "kim.",
             "\u00e9", "e\u0301", "\ud64d", "\u1112\u1169\u11bc", "stra\u00dfe", "STRASSE",
             "strasse", "\u0130", "i\u0307", "\u017f", "s", "a\u200bb", "ab", "con", "CON",
             "%2e%2e", "a%2Fb", "-a", ".a"]  # fmt: skip
    meant = {unicodedata.normalize("NFC", text) for text in texts}
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as server:
        recording = (DATA / f"{INSIDE}-0.mp4").read_bytes()
        codes: Counter[str] = Counter()
        for text in texts:
            reply = _post(server, "/v1/speakers", data={"speaker_id": text},
                          files={"audio": ("a.mp4", recording)})  # fmt: skip
            codes[str(reply.status_code)] += 1
        url = f"{server.url}/v1/speakers?limit=1000"
        listed = {one["speaker_id"] for one in requests.get(url, timeout=30).json()["speakers"]}
    told = f"{len(listed)} speakers of {len(texts)} ways to write {len(meant)} IDs; {_told(codes)}"
    again = len(texts) - len(meant)
    held = listed == meant and codes["409"] == again and set(codes) <= {"200", "201", "409"}
    return Found("IDs that look alike", len(texts), told, held)


ATTACKS: Sequence[Callable[[], Found]] = (
    paths, races, archives, broken_http, slow_clients, guessed_keys, timed_keys, alike_ids,
)  # fmt: skip


# What they share


@contextmanager
def _server_with_roots() -> Iterator[tuple[ServerProcess, Path, Path]]:
    """A server that knows two speakers, its upload root, and a folder outside of it."""
    with tempfile.TemporaryDirectory() as name:
        root, outside = Path(name) / "root", Path(name) / "outside"
        root.mkdir()
        outside.mkdir()
        shutil.copy(DATA / f"{OUTSIDE}-0.mp4", outside)
        with running_server(Path(name) / "gallery", "--upload-root", str(root)) as server:
            _enrol(server)
            yield server, root, outside


def _enrol(server: ServerProcess) -> None:
    for speaker in (INSIDE, OUTSIDE):
        name = f"{speaker}-0.mp4"
        files = {"file": (name, (DATA / name).read_bytes())}
        _post(server, "/Identification_Request", files=files).raise_for_status()


def _post(server: ServerProcess, path: str, **sent: Any) -> requests.Response:
    return requests.post(f"{server.url}{path}", timeout=TIMEOUT_S, **sent)


def _raw(port: int, request: bytes) -> int:
    """The status that is answered; 0 where the connection is closed without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        with suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(4_096)
        except TimeoutError:
            return 599
        except OSError:
            return 0
    return int(answer[9:12]) if answer[:5] == b"HTTP/" else 0


def _all_refused(attack: str, codes: Sequence[int]) -> Found:
    counts = Counter("closed" if code == 0 else str(code) for code in codes)
    return Found(
        attack, len(codes), _told(counts), all(c in {0, 501} or 400 <= c < 500 for c in codes)
    )


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()) if count)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _is_well(server: ServerProcess) -> bool:
    return requests.get(f"{server.url}/readyz", timeout=TIMEOUT_S).ok
