# SPDX-License-Identifier: Apache-2.0
"""Several trace directories reviewed as one."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import ALICE, BOB, SECOND, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.review.databases import columns
from ws_audit.review.segments import read
from ws_audit.review.segments.gather import directories
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

ID = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Path, Path]:
    """Two hosts with a leak each, of one cause and one pair, and a third person on the second."""
    one, two = tmp_path / "one", tmp_path / "two"
    first = Recorder(one)
    first.leak()
    first.leak("refused", at=1)
    first.cover(frames=10, judged=9)
    second = Recorder(two)
    second.leak(at=3)
    second.leak(None, at=4, user__hash="c" * 32)
    second.cover(frames=5, judged=5)
    first.store.close()
    second.store.close()
    return one, two


def both(*where: Path) -> dict[str, Any]:
    """The review of some directories, line by line and in columns."""
    now = START + 5 * SECOND
    found = read.examine(where).document(now)
    assert columns.examine(where).document(now) == found
    return found


def test_one_review_of_all(hosts: tuple[Path, Path]) -> None:
    found = both(*hosts)
    (incident,) = found["incidents"]
    assert (incident["id"], incident["events"], incident["attempted"]) == (ID, 3, 4)
    assert {(it["recipient"], it["owner"], it["events"]) for it in incident["pairs"]} == {
        (ALICE, BOB, 2),
        ("c" * 32, BOB, 1),
    }
    assert (found["coverage"]["frames"], found["coverage"]["judged"]) == (15, 14)
    assert found["problems"] == []
    assert found == both(*reversed(hosts))


def test_a_copy_counts_once_and_the_later_one_counts(
    hosts: tuple[Path, Path], tmp_path: Path
) -> None:
    expected = both(*hosts)
    shutil.copytree(hosts[0], tmp_path / "early")
    for path in (tmp_path / "early").glob("*.jsonl"):
        body = path.read_bytes()
        path.write_bytes(body[: len(body) // 2])  # copied while it was written
    (tmp_path / "link").symlink_to(hosts[1])
    again = both(tmp_path / "early", *hosts, hosts[0], tmp_path / "link")
    assert again == expected
    assert both(*hosts, tmp_path / "early") == expected


def test_an_outcome_in_another_directory_belongs_to_its_violation(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "all", segment_bytes=1)
    recorder.leak(None)
    recorder.store.sync()
    recorder.leak("refused", at=1)
    recorder.cover(frames=2, judged=2)
    recorder.store.close()
    expected = both(tmp_path / "all")
    (tmp_path / "moved").mkdir()
    newest = max((tmp_path / "all").glob("violations-*"), key=lambda it: it.name)
    newest.rename(tmp_path / "moved" / newest.name)
    assert both(tmp_path / "moved", tmp_path / "all") == expected


def test_what_is_no_copy_is_named_with_its_directory(
    hosts: tuple[Path, Path], tmp_path: Path
) -> None:
    expected = both(*hosts)
    other = tmp_path / "other"
    other.mkdir()
    (segment,) = hosts[0].glob("violations-*")
    (other / segment.name).write_bytes(b"changed" + segment.read_bytes()[:500])
    (other / "notes.txt").touch()
    (hosts[1] / "journal.jsonl").write_text("{\n")
    (torn,) = hosts[1].glob("violations-*")
    with torn.open("ab") as file:
        file.write(b'{"resourceSpans":')
    found = both(*hosts, other)
    assert found["incidents"] == expected["incidents"]
    assert found["problems"] == [
        f"{other}/notes.txt: no segment of ours, ignored",
        (
            f"{other / segment.name}: not the beginning of {segment}, though it has the same name: "
            "not counted"
        ),
        f"{torn} line 4: torn (killed or disk full in mid-write), not counted",
        f"{hosts[1]}/journal.jsonl line 1: corrupt, not counted",
    ]


def test_the_journal_of_each_counts_once(hosts: tuple[Path, Path]) -> None:
    ack = Mark(ID, 1, START, START + 3 * SECOND, START + 3 * SECOND, "ada", "seen")
    for directory in reversed(hosts):
        journal.append(directory, [ack])
        found = both(*hosts)
        assert [(it["id"], it["acknowledged"]) for it in found["incidents"]] == [
            (f"{ID}-2", False),
            (ID, True),
        ]


def test_the_command_takes_several(
    hosts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["review", *map(str, hosts), "--format=json", "--html", str(tmp_path / "page.html")]
    assert cli.main(words) == 1
    assert json.loads(capsys.readouterr().out)["incidents"][0]["events"] == 3
    page = (tmp_path / "page.html").read_text().replace("<wbr>", "")
    for directory in hosts:
        (segment,) = directory.glob("violations-*")
        assert str(segment) in page  # among the files that were read

    assert cli.main(["review", str(hosts[0]), str(tmp_path / "gone")]) == 2
    assert f"{tmp_path / 'gone'}: No such file" in capsys.readouterr().err
    assert cli.main(["review", str(hosts[0]), "clickhouse://box:8123/otel"]) == 2
    assert "it cannot be one of several" in capsys.readouterr().err


def test_one_directory_under_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert directories([tmp_path, str(tmp_path), tmp_path / "link"]) == (tmp_path,)
    assert directories(str(tmp_path)) == directories(tmp_path) == (tmp_path,)
