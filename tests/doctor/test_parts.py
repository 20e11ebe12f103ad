"""The parts of it that need no server: advice, the file, what is shared out, names."""

from __future__ import annotations

import json
import threading
import types
from typing import TYPE_CHECKING, Any

import tomli

from ws_audit.configuration import settings
from ws_audit.facts.names import Names
from ws_audit.facts.state import INTERVAL_NS, State
from ws_audit.facts.unjudged import Unjudged
from ws_audit.model import Call, Delivery, Verdict
from ws_audit.tools.doctor_advice import Config, advise

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000


# --- advice ------------------------------------------------------------------------------------


def document(**more: Any) -> dict[str, Any]:
    return {"settings": [], "sources": [], "classes": [], **more}


def row(reason: str, *places: tuple[str, str, int, int], looked_at: int = 8) -> dict[str, Any]:
    return {
        "reason": reason,
        "looked_at": looked_at,
        "places": [
            {"sort": sort, "path": path, "seen": seen, "agreed": agreed}
            for sort, path, seen, agreed in places
        ],
        "pairs": [],
    }


def test_a_list_keeps_what_was_in_use() -> None:
    used = document(sources=[["payload", "data.owner_id"], ["payload", "user_id"]])
    config = Config([used])
    advice = advise(row("no_evidence", ("field", "for_whom", 8, 8)), used, config)
    assert config.alone(advice.settings) == (
        'payload.owner = ["user_id", "data.owner_id", "for_whom"]'
    )


def test_a_list_keeps_the_commonest_name_even_unseen() -> None:
    config = Config([document()])
    config.add((("", "payload.owner", "for_whom"),))
    assert config.toml() == 'payload.owner = ["user_id", "for_whom"]'


def test_connection_sources_become_paths_the_settings_take() -> None:
    sources = [
        ["connection", "session.user_id"],
        ["connection", "dependency:user"],
        ["connection", "manager:connect.user_id"],
        ["connection", "path.user_id"],
    ]
    config = Config([document(sources=sources)])
    config.add((("", "identity.connection", "scope.passport.holder"),))
    assert tomli.loads(config.toml())["identity"]["connection"] == [
        "scope.session.user_id",
        "dependency:user",
        "scope.passport.holder",
    ]


def test_what_agreed_only_now_and_then_is_not_proposed() -> None:
    seen = row("no_evidence", ("field", "author_ref", 8, 5))
    advice = advise(seen, document(), Config([document()]))
    assert advice.settings == ()
    assert "author_ref" in advice.text


def test_two_methods_of_a_class_do_not_get_two_recipients() -> None:
    config = Config([document()])
    config.add(advise(row("no_evidence", ("parameter", "a:M.one:x", 8, 8)), document(), config)[1])
    other = advise(row("no_evidence", ("parameter", "a:M.two:y", 8, 8)), document(), config)
    assert other.settings == ()


def test_a_connect_method_no_rule_finds_is_proposed() -> None:
    told = {
        "class": "a:Desk",
        "not_hooked": [{"name": "enroll", "parameters": ["websocket", "member"]}],
    }
    used = document(classes=[told])
    config = Config([used])
    advice = advise(row("no_principal"), used, config)
    assert tomli.loads(config.alone(advice.settings)) == {
        "manager": [{"class": "a:Desk", "bind": ["enroll"], "recipient": "member"}]
    }


def test_where_nothing_was_seen_it_is_said_in_code() -> None:
    for reason in ("no_principal", "incomparable"):
        assert "ws_audit.bind(" in advise(row(reason), document(), Config([document()])).code


def test_every_line_is_one_this_version_takes(tmp_path: Path) -> None:
    """Also in pyproject.toml, if that is where the settings are."""
    for source, name in (("default", "t.toml"), ("x [tool.ws-audit]", "pyproject.toml")):
        given = {"key": "limits.connections", "value": 10, "source": source}
        config = Config([document(settings=[given])])
        config.add((("", "payload.owner", "a"), ("", "identity.connection", "dependency:b.c")))
        config.add((("", "limits.payload_bytes", 20), ("m:C.D", "recipient", "who")))
        (tmp_path / name).write_text(config.toml())
        environment = {"WS_AUDIT_CONFIG": name} if name == "t.toml" else {}
        loaded, problems = settings.load(environment, str(tmp_path))
        assert problems == []
        assert loaded.payload_owner == ("user_id", "a")
        assert loaded.identity_connection == ("dependency:b.c",)
        assert loaded.limits_payload_bytes == 20
        assert loaded.manager[0].recipient == "who"


def test_broadcasts_become_one_policy_that_a_person_must_give_a_reason(tmp_path: Path) -> None:
    config = Config([document()])
    for event in ("tide", "moon[1]", "tide"):
        config.add(advise({**row("undeclared_broadcast"), "event": event}, document(), config)[1])
    (tmp_path / "t.toml").write_text(config.toml())
    loaded, problems = settings.load({"WS_AUDIT_CONFIG": "t.toml"}, str(tmp_path))
    assert problems == []
    (table,) = loaded.policy
    assert table.kind == "broadcast"
    assert table.events == ("tide", "moon[[]1]")
    assert table.reason.startswith("TODO")


def test_a_broadcast_without_a_name_is_no_line() -> None:
    for event in ("none", "other", 'a"b', "a\nb"):
        one = {**row("undeclared_broadcast"), "event": event}
        advice = advise(one, document(), Config([document()]))
        assert advice.settings == ()
        assert "[[policy]]" in advice.text


# --- the file ----------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("state-*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_file_is_written_when_something_changed_or_a_minute_is_over(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"n": 1, "classes": ['{"a":1}', '{"b":2}']}
    state = State([str(tmp_path), "", str(tmp_path / "none")], lambda: facts, 30)
    state.tick(100 * SECOND)
    assert read(tmp_path) == {
        "written_ns": 100 * SECOND,
        "ended": False,
        "n": 1,
        "classes": [{"a": 1}, {"b": 2}],
    }
    facts["n"] = 2
    state.tick(101 * SECOND)
    assert read(tmp_path)["n"] == 1
    state.tick(100 * SECOND + INTERVAL_NS)
    assert read(tmp_path)["n"] == 2
    state.tick(100 * SECOND + 2 * INTERVAL_NS)
    assert read(tmp_path)["written_ns"] == 100 * SECOND + INTERVAL_NS
    state.tick(180 * SECOND)
    assert read(tmp_path)["written_ns"] == 180 * SECOND


def test_a_tick_takes_no_last_words_back(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"n": 1, "classes": []}
    state = State([str(tmp_path)], lambda: facts, 30)
    state.tick(100 * SECOND)
    state.write(101 * SECOND, ended=True)
    assert read(tmp_path)["ended"] is True
    state.tick(120 * SECOND)
    assert read(tmp_path)["ended"] is True
    facts["n"] = 2  # it went on after all
    state.tick(140 * SECOND)
    assert read(tmp_path)["ended"] is False


def test_two_threads_write_one_after_the_other(tmp_path: Path) -> None:
    """The drain's tick and the end of the process use one file beside the file."""
    begun, both = threading.Event(), threading.Event()

    def gather() -> dict[str, Any]:
        if threading.current_thread().name == "drain":
            begun.set()
            both.wait(0.5)  # time enough for the other to come between
        return {"classes": []}

    state = State([str(tmp_path)], gather, 30)
    drain = threading.Thread(target=state.write, args=(SECOND,), name="drain")
    drain.start()
    assert begun.wait(10)
    state.write(2 * SECOND, ended=True)
    both.set()
    drain.join(10)
    assert read(tmp_path) == {"written_ns": 2 * SECOND, "ended": True, "classes": []}


# --- counts ------------------------------------------------------------------------------------


def delivery(intent: int, site: str = "") -> Delivery:
    verdict = Verdict("unattributed", "no_evidence")
    what = ("send", "a:M", "a:M.f:1", "e", site, (), "", 1, verdict, "ok", 0, 0, 0)
    return Delivery(1, 1, 0, "asgi", 1, intent, *what)


def call(intent: int, site: str) -> Call:
    return Call(1, intent, 0, 0, "send", "a:M", "a:M.f:1", "e", site, "ok", 1, (), 0, 0, False)


def test_a_call_gives_its_line_to_deliveries_before_and_after_it() -> None:
    counts = Unjudged()
    for record in (delivery(1), call(1, "x:f:1"), call(2, "x:g:2"), delivery(2), delivery(3)):
        counts.fold(record)
    rows = {one.site: one.count for one in counts.rows()}
    assert rows == {"x:f:1": 1, "x:g:2": 1, "a:M.f:1": 1}  # the third is still under way


def test_unjoined_ones_are_shared_out_and_none_is_lost() -> None:
    counts = Unjudged()
    for number in range(100):
        line = ("x:f:1", "x:f:1", "x:g:2")[number % 3] if number < 30 else ""
        counts.fold(delivery(0, line))
    rows = counts.rows()
    assert {one.site: one.count for one in rows} == {"x:f:1": 66, "x:g:2": 34}
    assert all(one.estimated for one in rows)


def test_past_a_thousand_kinds_the_rest_is_one() -> None:
    counts = Unjudged()
    for number in range(5_000):
        counts.fold(call(number + 1, f"x:f:{number}"))
        counts.fold(delivery(number + 1))
    rows = counts.rows()
    assert len(rows) == 1_001
    assert sum(one.count for one in rows) == 5_000
    assert rows[0].site == "other"


# --- names -------------------------------------------------------------------------------------

WRITTEN = """
class Note:
    field_of_note: str

def f():
    return {'one_key': 1, 'two_key': 2}
"""


def test_two_threads_read_names_one_after_the_other() -> None:
    """The drain reads in slices, and the end of the process what is left."""
    begun, both = threading.Event(), threading.Event()
    module = types.ModuleType("written")
    module.__dict__["colour"] = 1

    def modules() -> list[types.ModuleType]:
        begun.set()
        both.wait(0.5)  # time enough for the other to come between
        return [module]

    names = Names(modules)
    drain = threading.Thread(target=names.read, args=(0,))
    drain.start()
    assert begun.wait(10)
    names.read()
    both.set()
    drain.join(10)
    assert names.complete
    assert names.tell("colour")


def test_a_name_is_told_if_somebody_wrote_it() -> None:
    module = types.ModuleType("written")
    exec(WRITTEN, module.__dict__)
    names = Names(lambda: [module])
    assert not names.tell("one_key")
    names.read()
    for path in ("one_key", "two_key.field_of_note", "user_id", "scope.user.one_key"):
        assert names.tell(path), path
    for path in ("ann", "one_key.ann", "user_id.17"):
        assert not names.tell(path), path
