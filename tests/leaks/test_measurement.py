# SPDX-License-Identifier: Apache-2.0
"""The published figures are those of the results, and a measurement survives what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.leaks import __main__ as command
from benchmarks.leaks import incidents, learned, results, score, tables
from benchmarks.leaks.case import applications
from benchmarks.leaks.freeze import content_hash
from benchmarks.leaks.people import invent
from benchmarks.leaks.report import FOUND, document, misdated, summary
from benchmarks.leaks.world import BrokenError, Played

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.leaks.case import Application
    from benchmarks.leaks.report import Entry

ROOT = Path(__file__).parents[2]
APPS = ["closures"]


def names_of(app: Application) -> list[str]:
    return [one.name for one in app.defects] + [one.name for one in app.benign]


# --- what is published -------------------------------------------------------------------


def test_the_pages_say_what_the_results_say() -> None:
    measured = tables.measured(results.RESULTS)
    for page in (tables.ACCURACY, tables.README):
        text = page.read_text()
        assert "<!-- leaks:" in text
        assert tables.rewritten(text, measured) == text, "python -m benchmarks.leaks docs"


def test_each_result_is_of_the_frozen_benchmark_and_adds_up() -> None:
    names = [(app.name, name) for app in applications() for name in names_of(app)]
    measured = tables.measured(results.RESULTS)
    assert {"none", "reviewed", "canary"} <= set(measured)
    for one in measured.values():
        assert (one["hash"], one["frozen"]) == (content_hash(), True)
        assert one["summary"]["defects"] == summary(one["cases"])["defects"]
        assert one["summary"]["benign"] == summary(one["cases"])["benign"]
        seen = {
            (case["application"], case["name"])
            for case in one["cases"]
            if case["list"] != "HELD_BACK"
        }
        # None is left out without being named.
        assert {name for name in names if name[0] not in one["left_out"]} == seen


def case(name: str = "x", listed: str = "DEFECTS", **figures: Any) -> Entry:
    return {
        "application": "closures",
        "name": name,
        "list": listed,
        "class": "content",
        "carries": "content",
        "broken": "",
        "frames": 10,
        "leaked": 1,
        "recalled": 1,
        "invented": 0,
        "exact": True,
        "named": "probable",
        "rules": {"canary": "probable"},
        "alarms": {"probable": 1},
        "coverage": {"frames": 10, "judged": 4},
        "times": "",
        "strangers": 0,
        **figures,
    }


def documents(*cases: Entry) -> tables.Documents:
    facts = {"mode": "reviewed", "hash": "h", "frozen": True, "left_out": []}
    return {"reviewed": document(list(cases), facts)}


def test_what_is_missed_broken_or_alarmed_is_named() -> None:
    measured = documents(
        case("found"),
        case("missed", named="hygiene", exact=False),
        case("stopped", broken="TimeoutExpired"),
        case("miscounted", exact=False),
        case("late", times="first_seen is +0.2 s"),
        case("uncomparable", times="first_seen is +0.2 s", exact=False),
        case("kept", "HELD_BACK"),
        case("kept and missed", "HELD_BACK", named=""),
        case("alarm", "BENIGN", leaked=0),
        case("quiet", "BENIGN", leaked=0, rules={}, alarms={}),
    )
    text = tables.rewritten(
        "".join(f"<!-- leaks:{name} -->\nold\n<!-- /leaks -->\n" for name in tables.BLOCKS),
        measured,
    )
    blocks = dict(part.split(" -->\n", 1) for part in text.split("<!-- leaks:")[1:])
    assert "old" not in text
    assert "4 of 5 seeded leaks; of those held back" in blocks["headline"]
    assert "run once, 1 of 2. It calls 1 of 2 kinds" in blocks["headline"]
    assert "1 of 20 (21.6 %)" in blocks["table"]
    assert "`missed`" in blocks["missed"]
    assert "`found`" not in blocks["missed"]
    assert "`miscounted`" in blocks["miscounted"]
    assert "not played** in **reviewed policy**: `stopped`" in blocks["with"]
    assert "times wrong** in **reviewed policy**: late\n" in blocks["with"]
    assert "`alarm` (closures, probable)" in blocks["alarms"]
    assert "quiet" not in blocks["alarms"]
    assert "| **reviewed policy** | **4 of 5** | **1 of 2** | 40 % |" in blocks["readme"]


PAIR = {"severity": "probable", "first_seen": "2026-11-23T10:00:00.100000000Z",
        "last_seen": "2026-11-23T10:00:00.900000000Z"}  # fmt: skip


def test_an_incident_is_the_defects_if_it_names_whom_the_clients_saw() -> None:
    people = invent()
    ann, bob, eve = people[:3]
    hashes = {name: value for value, name in score._hashes(people).items()}
    at = 1_795_428_000_000_000_000  # 2026-11-23T10:00:00Z
    journal = [
        {"who": ann.name, "t": at + milliseconds * 1_000_000, "text": bob.secret}
        for milliseconds in (101, 902)
    ]

    def incident(rule: str, severity: str, *pairs: tuple[str, str]) -> dict[str, Any]:
        return {
            **PAIR, "rule": rule, "severity": severity, "sites": ["a:b:1"], "attempted": 2,
            "events": 2, "pairs": [
                {**PAIR, "recipient": hashes[one], "owner": hashes[other], "events": 2}
                for one, other in pairs
            ],
        }  # fmt: skip

    found = [
        incident("payload_vs_connection", "probable", (eve.name, bob.name), (ann.name, bob.name)),
        incident("payload_vs_connection", "probable", (bob.name, ann.name)),
        incident("rebound_connection", "probable", (bob.name, ann.name)),
        incident("shared_instance", "hygiene", (ann.name, bob.name)),
    ]
    seen = incidents.compared(Played(people, journal, {"incidents": found}, ""))
    rules = [[it["rule"] for it in seen[which]] for which in ("cause", "others")]
    assert rules == [
        ["payload_vs_connection", "rebound_connection"],
        ["payload_vs_connection", "shared_instance"],
    ]
    assert [seen["cause"][0][key] for key in ("pairs", "true_pairs")] == [2, 1]
    assert (seen["first_ms"], seen["last_ms"]) == (-1.0, -2.0)
    assert incidents.timely({"review": seen, "times": ""})
    assert not incidents.timely({"review": seen, "times": "late"})
    assert not incidents.timely({"review": {**seen, "last_ms": 0.1}, "times": ""})
    assert not incidents.timely({"review": {**seen, "first_ms": -1001}, "times": ""})
    assert incidents.compared(Played(people, journal, None, ""))["cause"] == []


def test_each_defect_has_its_incidents_in_the_results() -> None:
    names = {one.name for app in applications() for one in app.defects}
    measured = incidents.measured(results.RESULTS)
    assert list(measured) == list(incidents.MODES)
    for document_ in measured.values():
        assert (document_["hash"], document_["frozen"]) == (content_hash(), True)
        assert {one["name"] for one in document_["cases"]} == names
    # Who does not agree with the clients is named.
    each = incidents.table(measured)
    for one in measured["reviewed"]["cases"]:
        if one["named"] in FOUND:
            (row,) = [it for it in each.splitlines() if f"`{one['name']}`" in it]
            assert ("the same" in row) is one["exact"]
            assert ("**2**" in row) is (len(one["review"]["cause"]) > 1)


def test_times_are_wrong_only_where_the_counts_are_the_clients() -> None:
    assert misdated(case(times="late"))
    assert not misdated(case(times="late", exact=False))
    assert not misdated(case())
    assert not misdated({"broken": "it did not start"})


# --- a measurement -----------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The ablation of one mode and application, with a stand-in for playing; returns who played."""

    def measure(play: Callable[[str], Entry], *more: str) -> list[str]:
        played: list[str] = []

        def stand_in(mode: str, learned: dict[str, str], one: Any) -> Entry:
            played.append(one[1].name)
            return {**play(one[1].name), "list": one[2]}

        monkeypatch.setattr(command, "_played", stand_in)
        words = ["ablation", "--modes", "none", "--apps", *APPS, "--out", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", ["leaks", *words])
        command.main()
        return played

    return measure


def test_an_interrupted_measurement_goes_on(
    run: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app,) = applications(APPS)
    names = names_of(app)

    def interrupted(name: str) -> Entry:
        if name == names[-1]:
            raise KeyboardInterrupt
        return case(name, broken="too slow" if name == names[0] else "")

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, "--jobs", "1")
    assert not (tmp_path / "none.json").exists()
    with (tmp_path / "none.partial.jsonl").open("a") as file:
        file.write('{"half a li')  # as a process that is killed leaves it
    again = run(case)
    assert names[0] in again  # what could not be played is tried again
    assert names[-1] in again
    assert len(again) < len(names)
    whole = results.read(tmp_path / "none.json")
    assert [one["name"] for one in whole["cases"]] == names
    assert not (tmp_path / "none.partial.jsonl").exists()
    assert run(case) == []
    assert sorted(run(case, "--fresh")) == sorted(names)
    monkeypatch.setattr(results, "agent_hash", lambda: "another")
    assert sorted(run(case)) == sorted(names)


def test_a_case_that_breaks_is_named_and_the_others_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def play(_: object, one: Any, *rest: Any, **more: Any) -> None:
        tried.append(one.name)
        raise subprocess.TimeoutExpired("actors", 75)

    monkeypatch.setattr(command, "play", play)
    words = ["ablation", "--modes", "none", "--apps", *APPS, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["leaks", *words])
    assert command.main() == 1
    (app,) = applications(APPS)
    names = set(names_of(app))
    assert set(tried) == names
    assert len(tried) == 2 * len(names)  # each once more
    assert results.read(tmp_path / "none.json")["summary"]["broken"] == len(names)
    assert capsys.readouterr().err.count("BROKEN") == len(names)


def test_a_part_is_no_result_to_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["leaks", "ablation", "--apps", *APPS])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2


# --- modes -------------------------------------------------------------------------------

JUDGED = """
import ws_audit.sink, ws_audit.verdict.excuses
from ws_audit.model import Evidence, Principal
def said(name, user):
    return Evidence(name, Principal(None, user, "id", "int"), "call", "", "strong")
whole = (
    said("connection", "1"), said("payload", "2"), said("argument", "3"), said("instance", "4")
)
for rule in ("rebound_connection", "shared_instance"):
    try:
        ws_audit.sink.Sink._event(None, rule, "hygiene", None, "")
    except AttributeError:
        print(rule)
judges = ws_audit.sink.judge, ws_audit.verdict.excuses.judge
print([judge(whole, "send", "").rule for judge in judges])
"""


@pytest.mark.parametrize(
    ("mode", "rule", "event"),
    [
        ("payload", "payload_vs_connection", ""),
        ("argument", "argument_vs_connection", ""),
        ("binding", "", "rebound_connection"),
    ],
)
def test_an_ablation_judges_by_what_it_keeps(
    tmp_path: Path, mode: str, rule: str, event: str
) -> None:
    (tmp_path / "judged.py").write_text(JUDGED)
    script = ROOT / "benchmarks" / "leaks" / "ablated.py"
    done = subprocess.run(
        [sys.executable, script, mode, "judged"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.splitlines() == [*event.split(), str([rule, rule])], done.stderr


def test_what_was_learned_is_learned_again_by_another_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def learn(app: Any) -> learned.Learned:
        made.append(app.name)
        return learned.Learned(f"# {app.name} {len(made)}\n")

    monkeypatch.setattr(learned, "learn", learn)
    apps = applications(["closures", "sse"])
    first = learned.proposals(apps, tmp_path, 1)
    assert made == ["closures", "sse"]
    assert first["sse"] == (tmp_path / "sse.toml").read_text() == "# sse 2\n"
    assert learned.proposals(apps, tmp_path, 1) == first
    assert len(made) == 2
    monkeypatch.setattr(learned, "agent_hash", lambda: "another")
    assert learned.proposals(apps, tmp_path, 1) != first
    assert json.loads((tmp_path / "learned.json").read_text())["agent"] == "another"


def test_an_application_that_taught_nothing_has_broken_cases_and_others_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(app: Any) -> learned.Learned:
        if app.name == "sse":
            raise BrokenError("no server")
        return learned.Learned("mode = 'observe'")

    seen: list[str] = []

    def play(app: Any, *_: object, learned: str, **more: Any) -> None:
        seen.append(f"{app.name} {learned}")
        raise BrokenError(str(more))

    monkeypatch.setattr(learned, "learn", learn)
    monkeypatch.setattr(command, "play", play)
    words = ["--modes", "learned", "--apps", "closures", "sse", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["leaks", "ablation", *words])
    assert command.main() == 1
    assert set(seen) == {"closures mode = 'observe'"}
    cases = results.read(tmp_path / "learned.json")["cases"]
    said = {one["broken"] for one in cases if one["application"] == "sse"}
    assert said == {"BrokenError: nothing was learned of the application"}
