# SPDX-License-Identifier: Apache-2.0
"""A name full of markup is text everywhere: terminals, pages, spreadsheets, logs, labels.

People leave the process as hashes alone. But names of services, hosts, events and code, what
people write into the journal, and the names of files in the directory can be anything.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.review import scene
from tests.review.test_page import hostile_scene
from ws_audit import journal
from ws_audit.incidents import Mark
from ws_audit.model import (
    ACCEPT,
    CONTENT,
    OK,
    SEND,
    STRONG,
    UNKNOWN,
    VIOLATION,
    Delivery,
    Evidence,
    Principal,
    Verdict,
)
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.outputs.violations import Violations
from ws_audit.principals.identity import Hasher
from ws_audit.review.custody.timeline import COLUMNS
from ws_audit.review.segments import read
from ws_audit.tally import Tally
from ws_audit.tools.learn_proposal import Line, Proposal, Table
from ws_audit.tools.learn_toml import write

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

# A link, a title, a colour and a cleared screen; other ends of lines; what turns text round; a
# formula; markup; a format string.
HOSTILE = (
    "=cmd|' /C calc'!A0\x1b]8;;https://example.com\x07here\x1b]8;;\x07\x1b]0;mine\x07\x1b[31m\x9b2J"
    "\r\n\v\f\x85\u2028\u2029\u202egpj.exe\u2066\u200f\x00\x7f"
    "<script>run()</script>\"'&{{constructor}}${jndi:x}%s{0}"
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def said(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", "review", *map(str, words)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def harmless(text: str) -> bool:
    return all(it.isprintable() or it == "\n" for it in text)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything in it that can have a name has that one."""
    directory: Path = tmp_path_factory.mktemp("hostile") / "traces"
    hostile_scene(directory, HOSTILE)
    process = scene.Process(directory, service=HOSTILE, version=HOSTILE, pid=9, said_host=HOSTILE)
    process.leak(5, scene.person("ann"), scene.person("bob"), ws_audit__event=HOSTILE)
    first = read.examine(directory).incidents[0]
    mark = Mark(first.id, 1, first.first_ns, first.last_ns, first.last_ns + 1, HOSTILE, HOSTILE)
    journal.append(directory, [mark])
    file = HOSTILE.replace("/", "").replace("\x00", "")
    (directory / file).write_text(scene.person("ann"))
    # The journal's own fault lines, too.
    with journal.path(directory).open("a") as file_:
        file_.write(json.dumps({"version": HOSTILE}) + "\n")
        file_.write(json.dumps({"version": 1, "action": HOSTILE}) + "\n")
    (directory / "hash.key").write_text("0" * 64)
    (directory / "events-web-1-100-1-1.jsonl").write_text(json.dumps({"resourceSpans": HOSTILE}))
    return directory


def test_what_is_printed_shows_it_and_obeys_none_of_it(directory: Path, tmp_path: Path) -> None:
    (first, *_) = read.examine(directory).incidents
    out = tmp_path / "out"
    commands: dict[str, list[object]] = {
        "review": [directory],
        "narrowed": [directory, "--service", HOSTILE.replace("\x00", "")],
        "nobody": [directory, "--service", "nope"],
        "proposed": [directory, "--not-a-leak", first.id],
        "who": ["who", "ann", "--by", "Ada", "--source", directory],
        "events": ["events", "--connection", "27fa36f7-2", "--source", directory],
        "export": ["export", first.id, out, "--by", "Ada", "--source", directory],
        "verify": ["verify", out],
        "erase": ["erase", scene.person("ann"), "--by", "Ada", "--source", directory],
        "ack": ["ack", "ffffffffffff", "--by", "Ada", "--note", "x", "--source", directory],
    }
    for name, words in commands.items():
        if name == "verify":
            (out / "trace" / "\x1b[2J\u202e.txt").touch()
        done = said(*words)
        assert "internal error" not in done.stderr, (name, done.stderr)
        assert done.returncode in {"ack": (2,), "narrowed": (2,), "nobody": (2,)}.get(name, (0, 1))
        assert harmless(done.stdout), (name, done.stdout)
        assert harmless(done.stderr), (name, done.stderr)
    text = said(directory).stdout
    for shown in ("\\x1b]8;;", "\\u202e", "\\x9b", "\\u2028", "<script>run()</script>"):
        assert shown in text


def test_what_machines_read_is_one_text(directory: Path, tmp_path: Path) -> None:
    done = said(directory, "--format", "json")
    assert done.stdout.isascii()
    document = json.loads(done.stdout)
    assert {it for each in document["incidents"] for it in each["services"]} == {HOSTILE}

    (chosen,) = [it for it in document["incidents"] if it["acknowledged"]]
    assert said("export", chosen["id"], tmp_path / "out", "--by", HOSTILE.replace("\x00", ""),
                "--source", directory).returncode == 0  # fmt: skip
    with (tmp_path / "out" / "timeline.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    assert rows
    for row in rows:
        assert len(row) == len(COLUMNS)
        assert not [it for it in row if it.startswith(FORMULA)]
        assert f"'{HOSTILE}" in row
    for name in ("incident.json", "manifest.json"):
        text = (tmp_path / "out" / name).read_text()
        assert harmless(text), name
        json.loads(text)


def test_what_leaves_the_agent_is_one_line_and_names_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pushed: list[str] = []
    agent = Violations(
        SpanMaker(Hasher("key"), HOSTILE, HOSTILE),
        Store(tmp_path, resource={"service.name": HOSTILE, "host.name": HOSTILE}),
        Tally(),
        log=True,
        export=lambda _: None,
        push=lambda it: pushed.append(json.dumps(it.as_dict(0))),  # as the webhook sends it
        wake=lambda: None,
    )
    ann, bob = (Principal(None, f"{name}{HOSTILE}", "id", "opaque") for name in ("ann", "bob"))
    said = (
        Evidence("connection", ann, ACCEPT, HOSTILE, STRONG),
        Evidence("payload", bob, CONTENT, HOSTILE, STRONG),
    )
    verdict = Verdict(VIOLATION, "", "payload_vs_connection", "probable", said[1])
    delivery = Delivery(
        1, 1, 1, "asgi", 1, 1, SEND, HOSTILE, HOSTILE, HOSTILE, f"{HOSTILE}:{HOSTILE}:7", said,
        HOSTILE, 10, verdict, UNKNOWN, 1, 1, 2,
    )  # fmt: skip
    agent.record(delivery)
    agent.outcome(delivery._replace(outcome=OK))

    told = pushed + capfd.readouterr().err.splitlines()
    assert len(told) == 2
    (segment,) = tmp_path.glob("violations-*.jsonl")
    stored = segment.read_bytes().split(b"\n")
    assert len(stored) == 3  # the record, its outcome, and an end of line
    assert all(it.isascii() and it.isprintable() for it in told)
    for line in (*told, *(it.decode() for it in stored[:2])):
        json.loads(line)
        assert "ann" not in line
    (incident,) = read.review(tmp_path, 0)["incidents"]
    assert incident["services"] == [HOSTILE]


def test_a_proposal_is_toml_whatever_things_are_called() -> None:
    odd = HOSTILE + "\ud800\U000e0001"
    line = Line(odd, f"seen in {odd}", active=True)
    table = Table("policy", (("kind", "broadcast"), ("events", [odd])), (odd,), active=True)
    text = write(Proposal(1, 1, 0, 1, 0, {"payload.owner": [line]}, [table], [odd]))
    assert harmless(text)
    found = tomllib.loads(text)
    shown = odd.replace("\ud800", "\ufffd")
    assert found == {
        "payload": {"owner": [shown]},
        "policy": [{"kind": "broadcast", "events": [shown]}],
    }
