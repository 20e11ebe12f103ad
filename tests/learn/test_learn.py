# SPDX-License-Identifier: Apache-2.0
"""What is learned from a real server's traffic, and that it settles what it was learned from."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.doctor.stage import Ended, tool
from tests.learn.stage import PEOPLE, run, verdicts
from ws_audit.configuration import settings

if TYPE_CHECKING:
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POLICIES = "policy" not in settings._LATER
LIKES = (("like", 80),)
ALL = (
    ("like", 80),
    ("letter", 80),
    ("visit", 70),
    ("arrive", 30),
    ("room", 10),
    ("book", 3),
    ("notice", 10),
)


@pytest.fixture(scope="module")
def likes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    folder = tmp_path_factory.mktemp("likes")
    return run(folder, ["learn", "--output", "learned.toml"], LIKES), folder / "learned.toml"


@pytest.fixture(scope="module")
def forum(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run(tmp_path_factory.mktemp("forum"), ["learn"], ALL)


def test_the_false_alarm_it_was_learned_from_is_gone(
    likes: tuple[Ended, Path], tmp_path: Path
) -> None:
    ended, file = likes
    assert ended.code == 0, ended.err
    assert ended.out == ""
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert verdicts(tmp_path, (("like", 5),), empty) == {"violation": 15, "probable": 15}
    assert verdicts(tmp_path, (("like", 5),), file) == {"match": 15}


def test_an_owner_that_is_one_and_an_actor_that_is_none(likes: tuple[Ended, Path]) -> None:
    text = likes[1].read_text()
    payload = tomllib.loads(text)["payload"]
    assert payload["owner"][0] == "reader_ref"
    assert payload["actor"][0] == "user_id"
    assert "user_id" not in payload["owner"]
    assert {"data.user_id", "owner_id", "payload.toUserId"} <= set(payload["owner"])
    assert {"sender_id", "data.from"} <= set(payload["actor"])
    assert "240 of 240 messages, 3 users" in text
    assert "0 of 240 messages" in text
    assert "CAREFUL: 240 of them were judged violations" in text


def test_a_file_that_exists_is_left_alone(likes: tuple[Ended, Path]) -> None:
    before = likes[1].read_text()
    again = _learn(likes[1].parent, "--output", "learned.toml", ".")
    assert again.code == 2
    assert "there is such a file already" in again.err
    assert likes[1].read_text() == before


def test_no_user_and_no_word_of_theirs_is_in_it(forum: Ended) -> None:
    assert forum.code == 0, forum.err
    assert "1,089 messages to 3 users" in forum.out
    for secret in (*PEOPLE, "hush", "secret words"):
        assert secret not in forum.out


def test_what_is_for_all_is_proposed_as_a_policy(forum: Ended) -> None:
    tables = tomllib.loads(forum.out)["policy"]
    kinds = [(one["kind"], one.get("events", one.get("principals"))) for one in tables]
    # Sent by a broadcast method; an owner's field that is none in this event; a word.
    assert kinds == [
        ("broadcast", ["arrived"]),
        ("broadcast", ["visited"]),
        ("system", ["system"]),
    ]
    assert "270 messages to 3 users, 180 not a match" in forum.out
    # A room needs a function that nobody can guess.
    assert '# kind = "room"\n# membership = "module:function"\n# events = ["talk"]' in forum.out


def test_a_field_with_two_meanings_stays_the_owners(forum: Ended) -> None:
    assert "data.user_id" in tomllib.loads(forum.out)["payload"]["owner"]
    assert "data.user_id names the owner in most events, and somebody else in visited" in (
        forum.out.replace("\n# ", " ")
    )


@pytest.mark.skipif(not POLICIES, reason="this version has no policies yet")
def test_with_all_of_it_nothing_is_a_violation(forum: Ended, tmp_path: Path) -> None:
    file = tmp_path / "learned.toml"
    file.write_text(forum.out)
    found = verdicts(tmp_path, tuple((name, 2) for name, _ in ALL), file)
    assert "violation" not in found, found
    assert found["match"] >= 6 + 6 + 6  # likes, letters, and one's own arrivals
    assert found["excused"] >= 6 + 12


def test_too_little_is_commented_out(tmp_path: Path) -> None:
    ended = run(tmp_path, ["learn"], (("like", 20), ("arrive", 2)))
    assert ended.code == 1
    assert tomllib.loads(ended.out) == {}
    assert '#     "reader_ref",  # equal to the connection\'s user in 60 of 60' in ended.out
    assert '#     "user_id",  # equal to the connection\'s user in 0 of 60' in ended.out
    assert '# events = ["arrived"]' in ended.out


def test_one_user_proves_nothing(tmp_path: Path) -> None:
    ended = run(tmp_path, ["learn"], (("like", 210),), people=1)
    # They like themselves: user_id agrees as well, and stays what it was.
    assert ended.code == 1
    assert tomllib.loads(ended.out) == {}
    assert "only one user was connected" in ended.out


def test_it_ends_the_command_by_itself(tmp_path: Path) -> None:
    begun = time.monotonic()
    # Begun long before it is asked to end (-S), and it hears although a job in the background
    # begins with Ctrl-C ignored.
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit('asked'))\n"
        "time.sleep(50)"
    )
    ended = _learn(tmp_path, "--seconds", "2", "--", sys.executable, "-S", "-c", script)
    assert 2 <= time.monotonic() - begun < 45
    assert ended.code == 1  # it counted nothing
    assert "asked" in ended.err  # as by Ctrl-C
    assert "[===" not in ended.err  # no bar where nobody watches


def test_from_the_facts_of_processes(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    facts.mkdir()
    ended = run(tmp_path, ["run"], (("like", 70),), WS_AUDIT_REPORT=str(facts))
    assert len(list(facts.glob("state-*.json"))) == 1, ended
    learned = _learn(tmp_path, "facts")
    assert learned.code == 0, learned.err
    assert tomllib.loads(learned.out)["payload"]["owner"][0] == "reader_ref"


def test_facts_without_counts(tmp_path: Path) -> None:
    assert _learn(tmp_path, ".").code == 1
    assert "no process has counted anything" in _learn(tmp_path, ".").err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "expected -- and a command"),
        (("--",), "expected -- and a command"),
        (("nowhere",), "nowhere: no such directory"),
        ((".", "."), "a directory and nothing else"),
        (("--seconds", "5", "."), "a directory and nothing else"),
        (("--seconds", "none", "--", "true"), "argument --seconds"),
        (("--seconds", "-1", "--", "true"), "argument --seconds"),
        (("--output", "no/such/file", "."), "its directory does not exist"),
        (("--", "no-such-command"), "command not found"),
    ],
)
def test_bad_usage(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    ended = _learn(tmp_path, *words)
    assert ended.code == 2
    assert told in ended.err
    assert ended.out == ""


def test_bad_settings(tmp_path: Path) -> None:
    ended = _learn(tmp_path, "--", "true", WS_AUDIT_METRICS_ADDR="nowhere")
    assert ended.code == 2
    assert "metrics_addr" in ended.err


def _learn(folder: Path, *words: str, **environment: str) -> Ended:
    return tool(folder, "learn", *words, **environment)


def test_what_a_process_counts_holds_no_values(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    facts.mkdir()
    run(tmp_path, ["run"], ALL[:1] + ALL[5:], WS_AUDIT_REPORT=str(facts))
    (file,) = facts.glob("state-*.json")
    document = json.loads(file.read_text())["learned"]
    assert document["users"] == 3
    for secret in PEOPLE:
        assert secret not in file.read_text()
