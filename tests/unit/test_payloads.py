# SPDX-License-Identifier: Apache-2.0
"""What a message says of itself, whatever it is made of, and that reading it runs nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import suspicious
from ws_audit.messages.payloads import Reader, Reading
from ws_audit.model import CONTENT, LIMIT, OPAQUE, STRONG, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

READER = Reader()


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    suspicious.CALLED.clear()
    yield
    assert suspicious.CALLED == []


def read(message: object, **options: Any) -> Reading:
    return READER.read(message, **options)


def owner(message: object, reader: Reader = READER) -> tuple[str, str] | None:
    """(user, path) of the payload evidence."""
    found = reader.read(message).owner
    return None if found is None else (found.principal.user, found.source)


# --- every shape is read alike ----------------------------------------------------------------

FIELDS: dict[str, Any] = {"type": "ping", "user_id": "alice", "data": {"n": 1}}


class Model(pydantic.BaseModel):
    type: str = "ping"
    user_id: str = "alice"
    data: dict[str, int] = {"n": 1}


class Struct(msgspec.Struct):
    type: str = "ping"
    user_id: str = "alice"
    data: dict[str, int] = msgspec.field(default_factory=lambda: {"n": 1})


@dataclass
class Data:
    type: str = "ping"
    user_id: str = "alice"
    data: dict[str, int] = field(default_factory=lambda: {"n": 1})


@dataclass(frozen=True)
class Frozen:
    __slots__ = ("data", "type", "user_id")
    type: str
    user_id: str
    data: Any


class Plain:
    def __init__(self) -> None:
        self.type, self.user_id, self.data = "ping", "alice", {"n": 1}


class Text(str):
    __slots__ = ()


class Fields(dict[str, Any]):
    pass


TEXT = json.dumps(FIELDS)
SHAPES: dict[str, object] = {
    "dict": FIELDS,
    "dict subclass": Fields(FIELDS),
    "text": TEXT,
    "text subclass": Text(TEXT),
    "bytes": TEXT.encode(),
    "bytearray": bytearray(TEXT, "utf-8"),
    "memoryview": memoryview(TEXT.encode()),
    "pretty text": "\n " + json.dumps(FIELDS, indent=4) + "\n",
    "text with NaN": json.dumps({**FIELDS, "score": float("nan")}),
    "text with a lone surrogate": json.dumps({**FIELDS, "x": "\ud800"}),
    "text with an escaped key": TEXT.replace("user_id", "user\\u005fid"),
    "pydantic": Model(),
    "msgspec": Struct(),
    "dataclass": Data(),
    "frozen dataclass with slots": Frozen("ping", "alice", {"n": 1}),
    "plain object": Plain(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_alike(shape: str) -> None:
    found = read(SHAPES[shape])
    assert found.owner is not None
    assert found.owner[1].user == "alice"
    assert found.owner.source == "user_id"
    assert (found.owner.name, found.owner.at, found.owner.strength) == ("payload", CONTENT, STRONG)
    assert found.event == "ping"
    assert found.note == ""
    assert found.soft  # a plain user_id: a room argument would make it the actor


# --- roles ------------------------------------------------------------------------------------

ROLES: list[tuple[dict[Any, Any], tuple[str, str] | None]] = [
    ({"user_id": "a"}, ("a", "user_id")),
    ({"userId": 17}, ("17", "userId")),
    ({"recipient_id": "a"}, ("a", "recipient_id")),
    ({"owner_id": "a", "user_id": "b"}, ("a", "owner_id")),  # owner fields come first
    ({"user_id": "b", "to_user_id": "a"}, ("a", "to_user_id")),
    ({"data": {"user_id": "a"}}, ("a", "data.user_id")),
    ({"payload": {"userId": "a"}}, ("a", "payload.userId")),
    ({"data": {"recipient_id": "a"}, "user_id": "b"}, ("a", "data.recipient_id")),
    ({"user_id": "a", "data": {"user_id": "b"}}, ("a", "user_id")),  # the outer one
    # beside an actor, user_id is the actor
    ({"user_id": "b", "sender_id": "b"}, None),
    ({"user_id": "b", "author_id": "c"}, None),
    ({"user_id": "b", "from": "c"}, None),
    ({"data": {"user_id": "b", "sender": {"name": "B"}}}, None),
    ({"user_id": "b", "sender_id": "b", "recipient_id": "a"}, ("a", "recipient_id")),
    # nobody
    ({}, None),
    ({"user_id": None}, None),
    ({"user_id": ""}, None),
    ({"user_id": "anonymous"}, None),
    ({"user_id": {"id": 5}}, None),
    ({"user_id": ["a"]}, None),
    ({"user_id": True}, None),
    ({"user_id": 1.5}, None),
    ({"users": ["a"], "user": "a", "author": "x", "mentions": ["b"]}, None),
    ({"data": "user_id"}, None),
    ({"data": [{"user_id": "a"}]}, None),
    ({"data": {"data": {"user_id": "a"}}}, None),  # two levels, no more
    ({1: "a", None: "b", ("user_id",): "c", b"user_id": "d"}, None),
]


@pytest.mark.parametrize(("message", "expected"), ROLES, ids=map(str, range(len(ROLES))))
def test_roles(message: dict[str, Any], expected: tuple[str, str] | None) -> None:
    assert owner(message) == expected
    if all(type(key) is str for key in message):
        assert owner(json.dumps(message)) == expected
        assert owner(json.dumps(message).encode()) == expected


def test_only_a_plain_user_id_is_soft() -> None:
    assert read({"user_id": "a"}).soft
    assert read({"data": {"user_id": "a"}}).soft
    assert not read({"recipient_id": "a"}).soft
    assert not read({"n": 1}).soft


EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "a"}, "a"),
    ({"event": "a"}, "a"),
    ({"event_type": "a"}, "a"),
    ({"message_type": "a"}, "a"),
    ({"event": "b", "type": "a"}, "a"),  # in the settings' order, not the message's
    ({"data": {"type": "inner"}, "type": "outer"}, "outer"),
    ({"data": {"type": "inner"}}, ""),
    ({"type": 5}, ""),
    ({"type": "x" * 65}, ""),
    ({"type": "x" * 64}, "x" * 64),
    ({"type": None, "event": "b"}, "b"),
]


@pytest.mark.parametrize(("message", "expected"), EVENTS, ids=map(str, range(len(EVENTS))))
def test_events(message: dict[str, Any], expected: str) -> None:
    assert read(message).event == expected
    assert read(json.dumps(message)).event == expected


def test_claims_are_read_only_where_asked_for() -> None:
    for message in ({"user_id": "a"}, {"sender_id": "a"}, {"author_id": "a", "x": 1}):
        assert read(message).claims is None
        claimed = read(json.dumps(message), claims=True).claims
        assert claimed is not None
        assert claimed.user == "a"
    assert read({"recipient_id": "a"}, claims=True).claims is None


def test_declared_paths_replace_the_defaults() -> None:
    reader = Reader(("meta.target.uid", "user_id"), ("meta.by",), ("meta.kind", "what"))
    assert owner({"meta": {"target": {"uid": "a"}}}, reader) == ("a", "meta.target.uid")
    assert owner({"recipient_id": "a"}, reader) is None
    assert owner({"user_id": "a"}, reader) == ("a", "user_id")
    assert owner({"user_id": "a", "meta": {"by": "b"}}, reader) is None
    assert owner({"user_id": "a", "sender_id": "b"}, reader) == ("a", "user_id")
    assert reader.read({"what": "x"}).event == "x"
    assert reader.read({"meta": {"kind": "y"}, "what": "x"}).event == "y"
    assert reader.read({"type": "x"}).event == ""
    text = json.dumps({"meta": {"target": {"uid": "a"}, "kind": "y"}})
    assert owner(text, reader) == ("a", "meta.target.uid")
    assert reader.read(text).event == "y"


# --- why the content said nothing -------------------------------------------------------------

NOTES: list[tuple[object, str]] = [
    ("", OPAQUE),
    (b"", OPAQUE),
    ("hello", OPAQUE),
    ("[1, 2]", OPAQUE),
    ('"text"', OPAQUE),
    ("17", OPAQUE),
    ("null", OPAQUE),
    (b"\x00\x01\x02", OPAQUE),
    (b"\xff\xfe", OPAQUE),
    (b"\x80", OPAQUE),
    ("{", UNREADABLE),
    ("{}x", UNREADABLE),
    ('{"user_id": "alice"', UNREADABLE),
    ("{'user_id': 'alice'}", UNREADABLE),
    ('{"user_id": alice}', UNREADABLE),
    (b'{"user_id": "\xff\xfe"}', UNREADABLE),
    ('{"a":' * 50_000 + "1" + "}" * 50_000, UNREADABLE),
    ('{"user_id":' + "[" * 100_000 + "]" * 100_000 + "}", UNREADABLE),
    ("{}", ""),
    ('{"a": 1}', ""),
]


@pytest.mark.parametrize(("message", "note"), NOTES, ids=map(str, range(len(NOTES))))
def test_why_the_content_said_nothing(message: object, note: str) -> None:
    found = read(message)
    assert found.note == note
    assert found.owner is None


def test_beyond_the_limit_nothing_is_decoded() -> None:
    reader = Reader(limit=100)
    text = json.dumps({"user_id": "alice", "x": "y" * 60})
    assert len(text) <= 100
    assert reader.read(text).owner is not None
    longer = json.dumps({"user_id": "alice", "x": "y" * 100})
    for message in (longer, longer.encode(), bytearray(longer, "ascii"), Text(longer)):
        found = reader.read(message)
        assert found == Reading(None, False, "", LIMIT)
    # An object the application holds is not text yet: there is nothing to decode.
    assert owner(json.loads(longer), reader) == ("alice", "user_id")


def test_a_megabyte_costs_little_more_than_skipping_it() -> None:
    big = json.dumps({"data": {"rows": ["x" * 100] * 9_000}, "user_id": "alice"})
    assert owner(big) == ("alice", "user_id")

    def best(work: Any) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return min(times)

    assert best(lambda: read(big)) < best(lambda: json.loads(big))


def test_a_key_that_comes_twice_counts_as_any_decoder_counts_it() -> None:
    assert owner('{"user_id": "a", "user_id": "b"}') == ("b", "user_id")


# --- nothing of the application runs ----------------------------------------------------------


@pytest.mark.parametrize("index", range(len(suspicious.objects())))
def test_nothing_of_the_application_is_run(index: int) -> None:
    thing = suspicious.objects()[index]
    for claims in (False, True):
        read(thing, claims=claims)
        for name in ("user_id", "recipient_id", "sender_id", "type", "data", "payload", "other"):
            read({name: thing}, claims=claims)
            read({"data": {name: thing}}, claims=claims)
            read(Fields({name: thing}), claims=claims)


def test_keys_that_notice_are_passed_over() -> None:
    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

    assert owner({Key(): "b", "user_id": "a"}) == ("a", "user_id")


def test_what_notices_can_still_be_read() -> None:
    assert owner(suspicious.TouchyDict(user_id="a")) == ("a", "user_id")
    assert owner(suspicious.TouchyStr(TEXT)) == ("alice", "user_id")
    assert owner(suspicious.TouchyBytes(TEXT.encode())) == ("alice", "user_id")


def test_a_lazy_model_is_not_loaded() -> None:
    """As ORMs do it: the value is in `__dict__` once loaded, behind a descriptor until then."""

    class Column:
        def __get__(self, instance: object, owner: type) -> str:
            raise AssertionError("loaded from the database")

    class Row:
        user_id = Column()

    row = Row()
    assert read({"data": row}).owner is None
    assert read(row).owner is None
    row.__dict__["user_id"] = "alice"
    assert owner({"data": row}) == ("alice", "data.user_id")


# --- properties -------------------------------------------------------------------------------

names = st.sampled_from(
    ["user_id", "userId", "recipient_id", "sender_id", "type", "event", "data", "payload", "x"]
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, st.text()), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(st.one_of(values, st.binary(), st.text()))
def test_no_message_makes_it_raise(message: object) -> None:
    for claims in (False, True):
        found = read(message, claims=claims)
        assert found.note in ("", OPAQUE, UNREADABLE, LIMIT)
        assert found.owner is None or found.note == ""


@settings(max_examples=200)
@given(st.dictionaries(names, values, max_size=6))
def test_an_object_and_its_text_say_the_same(message: dict[str, Any]) -> None:
    text = json.dumps(message)
    as_object = read(json.loads(text), claims=True)
    assert read(text, claims=True) == as_object
    assert read(text.encode(), claims=True) == as_object


@given(st.dictionaries(names, values, max_size=6), st.integers(1, 200))
def test_a_message_cut_short_gives_no_evidence(message: dict[str, Any], cut: int) -> None:
    text = json.dumps(message)[:-cut]
    found = read(text)
    assert found.owner is None
    assert found.note in (OPAQUE, UNREADABLE)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from ws_audit.messages import payloads
    from ws_audit.principals import identity

    monkeypatch.setattr(payloads, "_KNOWN", 50)
    monkeypatch.setattr(identity, "_CANONICAL_ENTRIES", 50)
    reader = Reader()
    for number in range(500):
        assert owner({"user_id": f"user-{number}"}, reader) == (f"user-{number}", "user_id")
    assert len(reader._root["user_id"].evidence) <= 50
    assert len(identity._canonical) <= 50


def test_whose_the_elements_of_a_declared_list_are() -> None:
    reader = Reader(owner=("user_id", "data.notes[].author.id"), actor=("by",))

    def owners(message: object) -> list[tuple[str, str]]:
        return [(one.principal.user, one.source) for one in reader.read(message).owners]

    path = "data.notes[].author.id"
    notes = [{"author": {"id": who}} for who in (7, 9, 7)]
    for form in (lambda it: it, json.dumps, lambda it: json.dumps(it).encode()):
        assert owners(form({"data": {"notes": notes}})) == [("7", path), ("9", path)]
    assert owners({"data": {"notes": [{"author": 7}, {}, 3, None, {"author": {"id": None}}]}}) == []
    for odd in ({}, {"author": {"id": 7}}, "7", 7, None):
        assert owners({"data": {"notes": odd}}) == []
    many = [{"author": {"id": who}} for who in range(1000)]
    assert len(owners({"data": {"notes": many}})) == 50
    assert reader.read({"user_id": 3, "data": {"notes": notes}}).owner is not None
    assert owners({"notes": notes}) == []
    assert READER.read({"data": {"notes": notes}}).owners == ()
