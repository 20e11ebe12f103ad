# SPDX-License-Identifier: Apache-2.0
"""The timeline of a trace, a connection, a person: loaded once, from segments the agent wrote.

Loading is interrupted and killed for real; what it had done by then must stay done.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.real.world import hears
from tests.unit.records import ADA, BOB, HASH, NOW, call, delivery
from ws_audit.messages.intents import send_ids
from ws_audit.model import Verdict
from ws_audit.outputs.deliveries import Deliveries
from ws_audit.outputs.segments import list_segments
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.process.allowance import Allowance
from ws_audit.review.databases import events, shelf, sieve
from ws_audit.review.segments import read
from ws_audit.tally import Tally
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

    from ws_audit.model import Call, Delivery
    from ws_audit.review.databases.loading import Loaded

pytest.importorskip("duckdb")

LEAK = Verdict("violation", "", "payload_vs_connection", "probable", None)
RESOURCE = {"service.name": "chat", "service.version": "1", "host.name": "box"}


class Agent:
    """What an agent writes. `everything`: store.events = "all"."""

    def __init__(self, directory: Path, *, everything: bool = True, **limits: Any) -> None:
        self.store = Store(directory, resource=RESOURCE, events=everything, **limits)
        self.maker = SpanMaker(HASH, "chat", "1")
        self.out = Deliveries(
            self.maker, self.store, Tally(), lambda: 0, Allowance(1, dict), lambda _: None
        )
        self.everything = everything

    def events(self, *records: Call | Delivery) -> None:
        if self.everything:
            for record in records:
                self.out.fold(record)

    def many(self, first: int, last: int, connections: int = 50) -> None:
        for number in range(first, last):
            self.events(
                delivery(number, intent=number, connection_id=number % connections), call(number)
            )
            if number % 100 == 0:
                self.store.sync()

    def leak(self, number: int) -> None:
        """A leak to Bob, as the agent writes one: at once, then its outcome, then its send."""
        trace_id, parent = send_ids(number, 0)
        verdict = LEAK._replace(dissent=delivery(1).evidence[1])
        seen = delivery(number, number, BOB, verdict=verdict, outcome="unknown", site="app:run:9")
        seen = seen._replace(trace_id=trace_id, parent_span_id=parent, span_id=1000 + number)
        self.store.write_violation(
            self.maker.violation(seen, self.maker.finding(seen), outcome=False)
        )
        settled = seen._replace(outcome="ok")
        self.store.write_violation(self.maker.outcome(settled, NOW))
        self.store.write_violation(self.maker.send(call(number), trace_id, parent))
        self.events(settled, call(number))

    def end(self) -> None:
        self.out.flush()
        self.store.close()


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def asked(directory: Path, *words: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["review", "events", "--source", str(directory), *words])
    return Done(code, out.getvalue(), err.getvalue())


def load(*directories: Path) -> Loaded:
    from ws_audit.review.databases import loading

    return loading.load(directories)


def size(*directories: Path) -> tuple[int, int]:
    """How many events there are, and how many bytes were read for that."""
    loaded = load(*directories)
    loaded.close()
    return loaded.events, loaded.read_bytes


def rows(loaded: Loaded) -> list[tuple[Any, ...]]:
    found = loaded.database.execute(f"SELECT * FROM {loaded.among([])} ORDER BY ALL").fetchall()
    loaded.close()
    return found


@pytest.mark.parametrize("everything", [True, False])
def test_one_connection_and_one_trace(tmp_path: Path, everything: bool) -> None:
    agent = Agent(tmp_path, everything=everything)
    agent.events(delivery(1, intent=1), call(1), delivery(2, connection_id=8))
    agent.leak(3)
    agent.end()
    prefix = agent.maker.prefix

    done = asked(tmp_path, "--connection", f"{prefix}-7", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kept"] == ("all" if everything else "violations")
    rows_told = told["events"]
    shown = [(it["what"], it.get("verdict", "")) for it in rows_told]
    leaked = [("send", ""), ("delivery" if everything else "violation", "violation")]
    expected = [("send", ""), ("delivery", "match")] if everything else []
    assert Counter(shown) == Counter(expected + leaked)  # the leak stands in two segments
    last = rows_told[-1]
    assert last == {
        "time": "2026-11-23T10:00:00.003000000Z",
        "what": last["what"],
        "event": "said",
        "manager": "app:Hub",
        "site": "app:run:9",
        "function": "app.Hub.push",
        "kind": "send",
        "transport": "asgi",
        "connection": f"{prefix}-7",
        "recipient": HASH(BOB),
        "owners": [{"evidence": "payload", "hash": HASH(ADA)}],
        "verdict": "violation",
        "rule": "payload_vs_connection",
        "severity": "probable",
        "outcome": "ok",
        "trace_id": f"{send_ids(3, 0)[0]:032x}",
        "span_id": last["span_id"],
        "parent_span_id": f"{send_ids(3, 0)[1]:016x}",
        "duration_ns": 0,
        "bytes": 12,
        "number": 1,
        "service": "chat",
        "host": "box",
        "pid": os.getpid(),
    }
    assert told["problems"] == []

    done = asked(tmp_path, "--trace", f"{send_ids(3, 0)[0]:032x}")
    assert done.returncode == 0, done.stderr
    head, *_ = done.stdout.splitlines()
    assert "2 events" in head
    assert ('store.events = "all"' in done.stdout) is not everything
    assert f"{HASH(ADA)[:8]} (payload" in done.stdout
    assert "payload_vs_connection probable" in done.stdout

    done = asked(tmp_path, "--user", HASH(BOB)[:10], "--format", "json")
    assert {it["what"] for it in json.loads(done.stdout)["events"]} == {"send", last["what"]}
    done = asked(tmp_path, "--user", HASH(ADA), "--limit", "1", "--format", "json")
    assert json.loads(done.stdout)["left_out"] == (4 if everything else 1)


def test_what_is_asked_wrongly_or_is_not_there(tmp_path: Path) -> None:
    agent = Agent(tmp_path, everything=False)
    agent.leak(1)
    agent.end()
    for words, what in [
        (["--trace", "0" * 31 + "1"], f"no trace {'0' * 31}1 among 3 events from 2026-11-23T10"),
        (["--connection", "0badcafe-1"], "Only violations are kept"),
        (["--trace", "xyz"], "expected 32 hex digits"),
        (["--connection", "12"], "expected an id such as 0badcafe-12"),
        (["--user", "ada"], "expected 8 to 32 hex digits"),
        (["--source", "clickhouse://box:8123/otel", "--user", "a" * 32], "--source is a database"),
        (["--source", str(tmp_path / "missing"), "--user", "a" * 32], "No such file or directory"),
        ([], "one of the arguments --trace --connection --user is required"),
    ]:
        done = asked(tmp_path, *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert what in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "empty").mkdir()
    done = asked(tmp_path / "empty", "--user", "a" * 32)
    assert done.returncode == 2
    assert "there are no events at all" in done.stderr


def test_a_delivery_that_did_not_know_its_trace_is_found_by_its_send(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.events(delivery(1, intent=5))
    agent.out.flush()  # before anybody knew of a trace of the application's
    agent.events(call(5, trace=0xABC))
    agent.end()
    done = asked(tmp_path, "--trace", f"{0xABC:032x}", "--format", "json")
    assert [it["what"] for it in json.loads(done.stdout)["events"]] == ["send", "delivery"]


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    agent = Agent(tmp_path, segment_bytes=600_000)
    agent.many(1, 1500)
    agent.out.flush()
    first = load(tmp_path)
    assert first.read_bytes == sum(path.stat().st_size for path in tmp_path.glob("events-*"))
    assert first.events == 2 * 1499
    again = load(tmp_path)
    assert again.read_bytes < 256 << 10  # what is too little to be kept
    cache = {path: path.read_bytes() for path in (tmp_path / "review.cache").iterdir()}
    assert len(cache) > 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in cache)
    assert rows(again) == rows(first)

    agent.many(1500, 2500)
    agent.end()
    more = load(tmp_path)
    assert more.events == 2 * 2499
    grown = sum(path.stat().st_size for path in tmp_path.glob("events-*")) - first.read_bytes
    assert grown <= more.read_bytes <= grown + (256 << 10)
    assert all(path.read_bytes() == before for path, before in cache.items())
    more.close()
    # Of a segment that is gone nothing is kept, whoever notices.
    old, other, *_ = sorted(tmp_path.glob("events-*"), key=lambda it: it.stat().st_mtime)
    old.unlink()
    load(tmp_path).close()
    assert not list((tmp_path / "review.cache").glob(f"{old.stem}@*"))
    assert list((tmp_path / "review.cache").glob(f"{other.stem}@*"))


def test_a_cache_that_lies_is_not_believed(tmp_path: Path) -> None:
    agent = Agent(tmp_path, segment_bytes=600_000)
    agent.many(1, 2000)
    agent.end()
    truth = rows(load(tmp_path))
    damaged, other, *rest = sorted((tmp_path / "review.cache").iterdir())
    none = rest[0].with_name(f"{rest[0].name.partition('@')[0]}@0-{'0' * 32}.parquet")
    none.write_bytes(b"no Parquet")
    none.rename(none.with_name(none.name.replace("0" * 32, shelf.digest(none))))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    other.write_bytes(b"")
    again = load(tmp_path)
    assert 0 < again.read_bytes < sum(it.stat().st_size for it in tmp_path.glob("events-*"))
    assert rows(again) == truth

    # A segment that is another one now, of the same name and length.
    path = max(tmp_path.glob("events-*"), key=lambda it: it.stat().st_size)
    changed = path.read_bytes().replace(b'"said"', b'"mute"', 1)  # its end is the same
    path.write_bytes(changed)
    loaded = load(tmp_path)
    names = loaded.database.execute(f"SELECT DISTINCT event FROM {loaded.among([])}").fetchall()
    loaded.close()
    assert sorted(names) == [("mute",), ("said",)]


def test_a_sieve_lets_through_all_that_is_there_and_little_else() -> None:
    there = {sieve.number("span", it) for it in range(5_000)}
    there |= {sieve.number("connection", f"0badcafe-{it}") for it in range(1_000)}
    bits = sieve.sieve(there)
    assert all(sieve.may_hold(bits, key) for key in there)
    others = [sieve.number("trace", it << 40) for it in range(1, 10_001)]
    assert sum(sieve.may_hold(bits, key) for key in others) < 500
    assert not sieve.may_hold(sieve.sieve(()), 5)
    # Whoever asks with the first digits of a person's hash finds what has all of them.
    assert sieve.number("person", "a" * 8) == sieve.number("person", "a" * 8 + "b" * 24)


def test_a_question_opens_only_the_files_that_may_answer_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, segment_bytes=300_000)
    agent.many(1, 2000, connections=10_000)
    agent.end()
    load(tmp_path).close()
    loaded = load(tmp_path)
    opened: list[list[int]] = []
    real = loaded.among

    def among(keys: list[int]) -> str:
        opened.append(keys)
        return real(keys)

    monkeypatch.setattr(loaded, "among", among)
    answer = events.ask(loaded, "connection", f"{agent.maker.prefix}-700")
    assert [row.what for row in answer.rows] == ["send", "delivery"]
    files = [real(keys).count(".parquet") for keys in opened if keys]
    assert len(loaded.files) > 6
    assert files
    assert max(files) <= 2
    loaded.close()


def test_bad_lines_are_named_and_the_others_shown(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    for number in range(1, 4):
        agent.events(delivery(number))
        agent.out.flush()
    agent.end()
    (path,) = tmp_path.glob("events-*")
    one, two, three = path.read_bytes().splitlines(keepends=True)
    foreign = two.replace(b'"version":"1"}', b'"version":"9"}')
    typed = two.replace(b'"intValue":"12"', b'"intValue":"twelve"')
    path.write_bytes(one + b"\xff\n" + b"[]\n" + foreign + typed + three[:-40])
    done = asked(tmp_path, "--connection", f"{agent.maker.prefix}-7", "--format", "json")
    told = json.loads(done.stdout)
    assert [it["time"][-7:] for it in told["events"]] == ["000000Z"]
    assert told["problems"] == [
        f"{path.name} line 2, and 2 more: corrupt, not shown",
        f"{path.name} line 4: record version '9', this review reads version 1, not shown",
        f"{path.name} line 6: torn (killed or disk full in mid-write), not shown",
    ]


def test_two_directories_and_a_copy_are_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    agent = Agent(tmp_path / "a")
    agent.events(delivery(1))
    agent.out.flush()
    (path,) = (tmp_path / "a").glob("events-*")
    early = path.read_bytes()
    agent.events(delivery(2))
    agent.end()
    (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    path.write_bytes(early)
    assert size(tmp_path / "a", tmp_path / "b")[0] == 2


def test_where_nothing_can_be_kept_it_is_loaded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    directory = tmp_path / "trace"
    agent = Agent(directory)
    agent.many(1, 500)
    agent.end()
    (directory / "review.cache").write_bytes(b"")  # not a folder
    number, read_bytes = size(directory)
    assert number == 998
    assert size(directory) == (998, 0)  # kept in a private folder of the temporary one
    (private,) = elsewhere.glob("ws-audit-*-*")
    (kept,) = private.iterdir()
    before = kept.stat()
    private.chmod(0o777)  # anybody could have written there
    assert size(directory) == (998, read_bytes)
    assert kept.stat().st_ino == before.st_ino  # nor is anything written there


SCRIPT = """
import os, signal, sys
from pathlib import Path
from ws_audit.review.databases import loading, stretches
real, done = stretches.keep, []
def keep(*words):
    answer = real(*words)
    done.append(answer)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
loading.stretches.keep = keep
loading.load([Path(sys.argv[1])])
"""


def test_loading_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    agent = Agent(tmp_path, segment_bytes=300_000)
    agent.many(1, 2000)
    agent.end()
    whole = sum(it.size for it in list_segments(tmp_path))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "review.cache").iterdir())) == 3
    rest = load(tmp_path)
    assert 0 < rest.read_bytes <= whole - 3 * 256_000
    assert rest.events == 2 * 1999
    killed = rows(rest)
    for path in (tmp_path / "review.cache").iterdir():
        path.unlink()
    assert rows(load(tmp_path)) == killed


def test_several_load_and_ask_at_once(tmp_path: Path) -> None:
    agent = Agent(tmp_path, segment_bytes=300_000)
    agent.many(1, 2000)
    agent.end()
    command = [sys.executable, "-m", "ws_audit", "review", "events", "--source", str(tmp_path)]
    command += ["--connection", f"{agent.maker.prefix}-7"]
    at_once = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    answers = [(*process.communicate(timeout=60), process.returncode) for process in at_once]
    assert answers[0][0].count(b"delivery  said") == 40
    assert answers == [(answers[0][0], b"", 0)] * 4
    assert len(rows(load(tmp_path))) == 2 * 1999


def test_ctrl_c_ends_quietly_and_leaves_what_was_loaded(tmp_path: Path) -> None:
    agent = Agent(tmp_path, segment_bytes=1 << 20)
    agent.many(1, 2000)
    agent.end()
    # A store of more than one process can load while the test waits: copies, with other starts.
    for path in list(tmp_path.glob("events-*")):
        stem, _, number = path.stem.rpartition("-")
        for copy in range(20):
            (tmp_path / f"{stem[:-2]}{copy + 10}-{number}.jsonl").write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "ws_audit", "review", "events", "--source", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--connection", f"{agent.maker.prefix}-7"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hears,  # noqa: PLW1509  (nothing but a system call)
    )
    cache = tmp_path / "review.cache"
    deadline = time.monotonic() + 30
    while len(list(cache.glob("*.parquet"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")
    kept = len(list(cache.glob("*.parquet")))
    assert kept >= 4
    assert not list(cache.glob("new-*"))
    loaded = load(tmp_path)
    assert loaded.events >= 20 * 2 * 1999
    assert loaded.read_bytes < sum(it.size for it in list_segments(tmp_path)) - 4 * (256 << 10)
    loaded.close()


def test_a_review_of_violations_does_not_look_at_events(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.leak(1)
    agent.end()
    before = read.review(tmp_path, NOW)
    (path,) = tmp_path.glob("events-*")
    path.unlink()
    os.mkfifo(path)  # who opened it would wait for ever
    assert read.review(tmp_path, NOW) == before
    assert before["incidents"][0]["events"] == 1
    assert not [text for text in before["problems"] if "events-" in text]
