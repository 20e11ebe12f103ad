# SPDX-License-Identifier: Apache-2.0
"""Evidence taken out of a trace directory and sealed: all of one incident, as it was stored."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.review import scene
from tests.review.conftest import NOW
from tests.unit.recorder import SECOND, START, Recorder
from ws_audit import journal
from ws_audit.book import SILENCE_NS
from ws_audit.incidents import Mark, incident_id
from ws_audit.outputs.store import hash_key
from ws_audit.review.custody import export, manifest, timeline
from ws_audit.review.segments import read
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
DAYS_2 = 2 * SILENCE_NS / SECOND


def seal(source: Path, incident: str, target: Path) -> export.Sealed:
    return export.export(source, incident, target, "Ada", NOW, None)


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if not path.is_dir()
    }


def incidents(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read.review(directory, NOW)["incidents"]
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A night of several processes, whose files have seen better days."""
    directory = tmp_path / "source"
    scene.night(directory)
    for path in sorted(directory.glob("violations-*"))[:2]:
        whole = path.read_bytes().splitlines(keepends=True)
        long = b'{"' + b"x" * (1 << 20) + b'"}\n'
        path.write_bytes(b"".join([whole[0], b"garbage\n", long, b"\n", *whole[1:], whole[0][:90]]))
    return directory


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A directory with one incident of two violations, and the hash key."""
    directory = tmp_path / "traces"
    recorder = Recorder(directory)
    recorder.leak()
    recorder.leak("refused", at=1)
    recorder.cover(frames=2, judged=2)
    recorder.store.close()
    hash_key(directory)
    return directory


# --- what is in it --------------------------------------------------------------------------


def test_each_incident_is_the_same_in_its_export(source: Path, tmp_path: Path) -> None:
    known = incidents(source)
    assert len(known) == 4
    for number, incident in enumerate(known):
        target = tmp_path / str(number)
        seal(source, incident["id"], target)
        assert incidents(target / export.TRACE) == [incident]
        told = json.loads((target / "incident.json").read_text())
        assert told.pop("incident") == incident
        assert told.pop("as_of").startswith("2026-11-23T10:25:30")
        whole = read.review(source, NOW)
        del whole["incidents"]
        assert told == whole
        assert told["problems"]


def test_every_line_is_as_it_was_and_where_the_manifest_says(source: Path, tmp_path: Path) -> None:
    (leak, *_) = incidents(source)
    seal(source, leak["id"], tmp_path / "out")
    told = json.loads((tmp_path / "out" / manifest.FILE).read_text())["source"]
    assert told["directory"] == str(source)
    assert told["hosts"] == ["web-1", "web-2"]
    taken = {}
    for segment in told["segments"]:
        stored = (source / segment["name"]).read_bytes()
        stretches = [it.split("-") for it in segment["ranges"].split()]
        taken[segment["name"]] = b"".join(stored[int(one) : int(two)] for one, two in stretches)
    written = files(tmp_path / "out" / export.TRACE)
    assert written.pop(journal.FILE) == b""
    assert written == taken
    # Of a process that had a part in it all of the coverage, of others nothing.
    assert {name for name in taken if name.startswith("coverage")} == {
        path.name for path in source.glob("coverage-web-*-100-*")
    }
    for name in (it for it in taken if it.startswith("coverage")):
        assert taken[name] == (source / name).read_bytes()
    # Of another incident, of sends and of what is no line of ours: nothing.
    violations = b"".join(it for name, it in taken.items() if name.startswith("violations"))
    lines = [json.loads(line) for line in violations.splitlines()]
    spans = [it["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for it in lines]
    assert {span["name"] for span in spans} == {"ws_audit.violation"}
    assert len(spans) == 26 * 2 + 1 + 2  # the first one's lines, the storm's, the refused one's


def test_what_a_process_died_in_is_one_line(source: Path, tmp_path: Path) -> None:
    killed = next(it for it in incidents(source) if it["rule"] == "instance_vs_connection")
    seal(source, killed["id"], tmp_path / "out")
    (lines,) = [it for name, it in files(tmp_path / "out/trace").items() if "violations" in name]
    assert len(lines.splitlines()) == 1


def test_a_line_with_records_of_two_incidents_stays_whole(tmp_path: Path) -> None:
    """No agent writes one, but OTLP has them: the timeline has what was asked for alone."""
    directory = tmp_path / "traces"
    recorder = Recorder(directory)
    recorder.leak()
    recorder.leak(at=1, ws_audit__site="app.ws:Hub.shout:8")
    (path,) = directory.glob("violations-*")
    first, _, second, *_ = [json.loads(line) for line in path.read_bytes().splitlines()]
    spans = [it["resourceSpans"][0]["scopeSpans"][0]["spans"] for it in (first, second)]
    spans[0] += spans[1]
    path.write_text(json.dumps(first) + "\n")
    assert len(incidents(directory)) == 2
    seal(directory, ID, tmp_path / "out")
    assert incidents(tmp_path / "out/trace") == incidents(directory)
    assert (tmp_path / "out/trace" / path.name).read_bytes() == path.read_bytes()
    (row,) = csv.DictReader((tmp_path / "out/timeline.csv").read_text().splitlines())
    assert row["site"] == "app.ws:Hub.push:42"


def test_one_of_several_incidents_of_a_cause(tmp_path: Path) -> None:
    """Acknowledged, come back, gone for two days, come back: each alone, with its number."""
    directory = tmp_path / "traces"
    recorder = Recorder(directory)
    recorder.leak(at=0)
    # A storm that goes on when somebody acknowledges: counted with what comes after.
    recorder.leak(None, at=0.99, ws_audit__count=7, ws_audit__delivered=5)
    recorder.leak(at=20)
    recorder.leak(at=DAYS_2)
    recorder.leak(at=DAYS_2 + 1)
    ack = Mark(ID, 1, START, START, START + int(0.992 * SECOND), "ada", "seen")
    journal.append(directory, [ack, ack._replace(cause="0" * 12)])
    known = incidents(directory)
    assert sorted((it["id"], it["attempted"], it["acknowledged"]) for it in known) == [
        (ID, 1, True),
        (f"{ID}-2", 8, False),
        (f"{ID}-3", 2, False),
    ]
    for incident in known:
        target = tmp_path / incident["id"]
        seal(directory, incident["id"], target)
        assert incidents(target / export.TRACE) == [incident]
        entries = [json.loads(it) for it in files(target)["trace/journal.jsonl"].splitlines()]
        assert {it["incident"].partition("-")[0] for it in entries} == {ID}
        added = json.loads((target / manifest.FILE).read_text())["added"]
        # The third one's number is known from the evidence of the second alone.
        assert bool(added) == (incident["id"] == f"{ID}-3")
        assert (entries[-1]["action"] == "opened") == bool(added)


def test_the_timeline_is_timesketchs(source: Path, tmp_path: Path) -> None:
    (leak, *_) = incidents(source)
    seal(source, leak["id"], tmp_path / "out")
    with (tmp_path / "out" / "timeline.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["message", "datetime", "timestamp_desc"]
    assert sum(int(it["count"]) for it in rows) == leak["attempted"]
    assert sum(int(it["delivered"]) for it in rows) == leak["events"]
    assert {(it["recipient"], it["owner"]) for it in rows} == {
        (it["recipient"], it["owner"]) for it in leak["pairs"]
    }
    assert rows[0]["time"] == leak["first_seen"] == "2026-11-23T10:10:40.000000000Z"
    assert rows[0]["datetime"] == "2026-11-23T10:10:40.000000+00:00"
    assert [it["time"] for it in rows] == sorted(it["time"] for it in rows)
    assert {it["outcome"] for it in rows} == {"ok", "refused", ""}
    assert [it["timestamp_desc"] for it in rows if not it["outcome"]] == ["First of 480 violations"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_is_a_formula(tmp_path: Path, begin: str) -> None:
    directory = tmp_path / "traces"
    event = f'{begin}cmd|"/C calc"!A0'
    recorder = Recorder(directory, service=f"{begin}1+1")
    recorder.leak(ws_audit__event=event, ws_audit__manager="fine=1", user__hash="-1")
    seal(directory, incidents(directory)[0]["id"], tmp_path / "out")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out/timeline.csv").read_bytes().decode()))
    assert (row["event"], row["service"]) == (f"'{event}", f"'{begin}1+1")
    assert (row["manager"], row["recipient"]) == ("fine=1", "'-1")
    assert list(row) == list(timeline.COLUMNS)


def test_who_took_it_stands_in_the_journal(leaky: Path, tmp_path: Path) -> None:
    first = seal(leaky, ID, tmp_path / "1")
    (line,) = journal.path(leaky).read_text().splitlines()
    entry = json.loads(line)
    assert (entry["action"], entry["incident"], entry["by"]) == ("export", ID, "Ada")
    assert entry["time"].startswith("2026-11-23T10:25:30")
    sealed = (tmp_path / "1" / manifest.FILE).read_bytes()
    assert entry["digest"] == first.digest == hashlib.sha256(sealed).hexdigest()
    told = json.loads(sealed)
    assert (told["by"], told["incident"], told["time"]) == ("Ada", ID, entry["time"])
    # It closes nothing and is no problem; the next export tells of this one.
    found = read.review(leaky, NOW)
    assert (found["problems"], found["incidents"][0]["acknowledged"]) == ([], False)
    seal(leaky, ID, tmp_path / "2")
    assert files(tmp_path / "1")["trace/journal.jsonl"] == b""
    assert files(tmp_path / "2")["trace/journal.jsonl"].decode() == f"{line}\n"


def test_the_key_stays_where_it_is_and_nobody_else_can_read(leaky: Path, tmp_path: Path) -> None:
    key = (leaky / "hash.key").read_bytes()
    assert len(key) == 64
    seal(leaky, ID, tmp_path / "out")
    written = files(tmp_path / "out")
    assert sorted(written) == [
        "incident.json",
        "manifest.json",
        "timeline.csv",
        *sorted(["trace/journal.jsonl", *(f"trace/{it.name}" for it in leaky.glob("*-*.jsonl"))]),
    ]
    assert not [name for name, content in written.items() if key in content]
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


# --- whether it still is as it was ----------------------------------------------------------


def test_verified_until_something_is_not_as_it_was(
    leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    digest = seal(leaky, ID, out).digest

    def verify(*words: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        return cli.main(["review", "verify", str(out), *words]), capsys.readouterr().out.split("\n")

    assert verify() == (
        0,
        [
            f"manifest sha256 {digest}",
            "all 5 files are as the manifest has them; compare the digest with your note",
            "",
        ],
    )
    assert verify("--digest", digest)[0] == 0
    assert verify("--digest", "0" * 64)[0] == 1
    assert verify("--digest", "")[0] == 1

    table = out / "timeline.csv"
    content = table.read_bytes()
    table.write_bytes(content.replace(b"ok", b"no"))  # as long as before
    assert verify()[1][0] == "timeline.csv: changed"
    table.write_bytes(content)
    segment = next(out.glob("trace/violations-*"))
    segment.rename(out / "trace" / "more\x1b.jsonl")
    (out / "hollow").mkdir()
    table.unlink()
    table.symlink_to(leaky / "hash.key")
    (out / "link").symlink_to(leaky)
    code, said = verify()
    assert (code, said[-2]) == (1, f"{out} is NOT as it was sealed")
    assert said[:5] == [
        "timeline.csv: cannot be read: not a regular file",
        f"trace/{segment.name}: missing",
        "hollow: not in the manifest",
        "link: not in the manifest",
        "trace/more\\x1b.jsonl: not in the manifest",
    ]


def test_a_manifest_that_was_written_anew_is_known_by_its_digest_alone(
    leaky: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    digest = seal(leaky, ID, out).digest
    told = json.loads((out / manifest.FILE).read_text())
    (out / "timeline.csv").write_bytes(b"nothing happened")
    facts = {"sha256": hashlib.sha256(b"nothing happened").hexdigest(), "bytes": 16}
    told["files"] = [{**it, **(facts if "csv" in it["path"] else {})} for it in told["files"]]
    (out / manifest.FILE).write_text(json.dumps(told))
    assert cli.main(["review", "verify", str(out)]) == 0
    assert cli.main(["review", "verify", str(out), "--digest", digest]) == 1


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (None, "manifest.json: missing"),
        ("[]", "manifest.json: no manifest of ws-audit, or changed"),
        ('{"manifest": 2}', "manifest.json: not of version 1"),
        (
            '{"manifest": 1, "files": [{"path": "../x", "sha256": "", "bytes": 0}]}',
            "../x: not a name of a file in here",
        ),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, written: str | None, problem: str) -> None:
    (tmp_path / "x").touch()
    out = tmp_path / "out"
    out.mkdir()
    if written is not None:
        (out / manifest.FILE).write_text(written)
    assert manifest.verify(out).problems == [problem]


def test_verify_says_what_is_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["review", "verify", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: No such file or directory" in capsys.readouterr().err


# --- the command, and what it refuses -------------------------------------------------------


def test_the_command_says_what_to_write_down(
    leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WS_AUDIT_TRACE_DIR", str(leaky))
    out = tmp_path / "out"
    out.mkdir()
    assert cli.main(["review", "export", ID, str(out), "--by", "Ada Example"]) == 0
    said = capsys.readouterr()
    assert f"{leaky} (environment variable WS_AUDIT_TRACE_DIR)" in said.err
    digest = json.loads(journal.path(leaky).read_text())["digest"]
    assert said.out.splitlines()[:2] == [
        f"{ID} exported to {out}: 2 violation records in 6 files",
        f"manifest sha256 {digest}",
    ]
    assert len(files(out)) == 6


def test_refused_with_a_reason_and_nothing_is_left(
    leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to(tmp_path / "full")
    before = files(tmp_path)

    def refused(incident: str, target: str, source: object = leaky) -> str:
        words = ["review", "export", incident, str(tmp_path / target), "--by", "x"]
        assert cli.main([*words, "--source", str(source)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    unknown = refused(f"{ID}-2", "out")
    assert f"has no incident '{ID}-2'\nthere are: 1\n  {ID}  confirmed  payload_vs" in unknown
    assert "full: is not empty" in refused(ID, "full")
    assert "link: is no directory" in refused(ID, "link")
    assert "thesis.tex: is no directory" in refused(ID, "full/thesis.tex")
    assert "there is no directory" in refused(ID, "no/where")
    assert "is in the trace directory" in refused(ID, "traces/out")
    assert "expected the trace directory" in refused(ID, "out", "clickhouse://box:8123/otel")
    assert "nowhere: no directory" in refused(ID, "out", tmp_path / "nowhere")
    assert cli.main(["review", "export", ID, str(tmp_path / "out")]) == 2
    assert "--by" in capsys.readouterr().err
    assert files(tmp_path) == before
    journal.path(leaky).mkdir()
    assert "journal.jsonl: Is a directory; an export is written" in refused(ID, "out")
    assert files(tmp_path) == before


def test_no_room_leaves_nothing(leaky: Path, tmp_path: Path) -> None:
    """A real limit of the kernel's, reached in the middle of a file."""
    out = tmp_path / "room" / "out"
    out.parent.mkdir()
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, 1_500));"
        "from ws_audit.tools import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["review", "export", ID, str(out), "--by", "x", "--source", str(leaky)]
    done = subprocess.run(
        [sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"ws-audit review export: {out}: File too large; nothing is exported\n")
    assert list(out.parent.iterdir()) == []
    assert not journal.path(leaky).exists()


def test_what_does_not_read_back_as_it_was_is_not_handed_out(
    leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody acknowledges between two looks at the journal."""
    journal.append(leaky, [Mark(ID, 1, START, START + SECOND, START + 9 * SECOND, "ada", "seen")])
    monkeypatch.setattr(journal, "about", lambda *_: b"")
    (tmp_path / "room").mkdir()
    with pytest.raises(export.ExportError, match="has changed meanwhile"):
        seal(leaky, ID, tmp_path / "room" / "out")
    assert list((tmp_path / "room").iterdir()) == []
    assert len(journal.path(leaky).read_text().splitlines()) == 1


def test_nothing_is_handed_out_that_the_journal_does_not_tell_of(
    leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(journal, "exported", full)
    (tmp_path / "room").mkdir()
    with pytest.raises(OSError, match="No space"):
        seal(leaky, ID, tmp_path / "room" / "out")
    assert list((tmp_path / "room").iterdir()) == []
