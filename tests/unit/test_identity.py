# SPDX-License-Identifier: Apache-2.0
"""Who somebody is: canonical forms, comparison, reading without running code, the hash."""

from __future__ import annotations

import copy
import pickle
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import suspicious
from ws_audit import naming
from ws_audit.model import ACCEPT, STRONG, WEAK, Evidence, Principal
from ws_audit.principals.identity import (
    CELL_KEY,
    DIFFERENT,
    INCOMPARABLE,
    MANAGER,
    SAME,
    Cell,
    Hasher,
    agree,
    claim_of,
    compare,
    describe,
    evidence_of,
    fields_of,
    find_cell,
    holds,
    peek,
    principal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

UUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    suspicious.CALLED.clear()
    yield
    assert suspicious.CALLED == []


# --- canonical form ---------------------------------------------------------------------------

CANONICAL: list[tuple[object, tuple[str, str, str] | None]] = [
    (17, ("17", "id", "int")),
    ("17", ("17", "id", "int")),
    ("0017", ("17", "id", "int")),
    (b"17", ("17", "id", "int")),
    (0, ("0", "id", "int")),
    (2**63, (str(2**63), "id", "int")),
    (-5, ("-5", "id", "opaque")),
    (uuid.UUID(UUID), (UUID, "id", "uuid")),
    (UUID, (UUID, "id", "uuid")),
    (UUID.upper(), (UUID, "id", "uuid")),
    (UUID.replace("-", ""), (UUID, "id", "uuid")),
    ("{" + UUID + "}", (UUID, "id", "uuid")),
    ("Ann@Example.ORG", ("ann@example.org", "email", "email")),
    ("auth0|abc", ("auth0|abc", "subject", "opaque")),
    ("google-oauth2|108", ("google-oauth2|108", "subject", "opaque")),
    ("alice", ("alice", "id", "opaque")),
    ("Alice", ("Alice", "id", "opaque")),
    ("user_2abcDEF", ("user_2abcDEF", "id", "opaque")),
    ("٣", ("٣", "id", "opaque")),  # a digit to str.isdigit, none to a database
    ("x" * 256, ("x" * 256, "id", "opaque")),
    ("x" * 257, None),
    ("9" * 257, None),
    (10**30, None),
    (b"x" * 2000, None),
    (("é" * 200).encode(), ("é" * 200, "id", "opaque")),
    ("", None),
    ("None", None),
    ("null", None),
    ("anonymous", None),
    ("Guest", None),
    ("undefined", None),
    (b"", None),
    (None, None),
    (True, None),
    (False, None),
    (1.5, None),
    (["a"], None),
    ({"user_id": 1}, None),
    (object(), None),
    (int, None),
]


@pytest.mark.parametrize(("value", "expected"), CANONICAL, ids=map(str, range(len(CANONICAL))))
def test_canonical_form(value: object, expected: tuple[str, str, str] | None) -> None:
    found = principal(value)
    assert (None if found is None else found[1:]) == expected


def test_a_text_of_a_subclass_is_its_text() -> None:
    class UserId(str):
        __slots__ = ()

    assert principal(UserId("alice")) == principal("alice")


def test_ids_that_are_no_text_stay_apart() -> None:
    raw = [bytes([0x80 + number, 0xFF, 0xFE]) for number in range(64)]
    assert len({principal(one) for one in raw}) == 64
    assert principal(b"caf\xc3\xa9") == principal("café")


def test_kind_and_tenant_are_kept() -> None:
    assert principal("alice", "name", "acme") == Principal("acme", "alice", "name", "opaque")
    assert principal("a@x.org", "name") == Principal(None, "a@x.org", "email", "email")


@given(st.one_of(st.text(), st.integers(), st.binary(), st.floats(), st.booleans(), st.none()))
def test_it_never_raises_and_is_its_own_canonical_form(value: object) -> None:
    found = principal(value)
    if found is not None:
        assert principal(found.user, found.kind) == found


@given(st.integers(0, 2**63 - 1))
def test_an_int_and_its_text_are_one(number: int) -> None:
    assert principal(number) == principal(str(number)) == principal(str(number).encode())


@given(st.uuids())
def test_a_uuid_and_its_texts_are_one(value: uuid.UUID) -> None:
    texts = [str(value), value.hex, str(value).upper(), value.urn.removeprefix("urn:uuid:")]
    hexes = [text for text in texts if not text.isdigit()]
    assert {principal(text) for text in hexes} <= {principal(value)}


# --- comparison -------------------------------------------------------------------------------

COMPARED = [
    (principal(17), principal("17"), SAME),
    (principal(17), principal(18), DIFFERENT),
    (principal(17), principal("alice"), DIFFERENT),  # one kind: they are comparable
    (principal(17), principal("auth0|abc"), INCOMPARABLE),
    (principal("auth0|abc"), principal("auth0|abd"), DIFFERENT),
    (principal("auth0|abc"), principal("auth0|abc", "subject"), SAME),
    (principal("alice", "name"), principal("alice"), INCOMPARABLE),
    (principal("alice", "name"), principal("bob", "name"), DIFFERENT),
    (principal(17, "name"), principal(17), SAME),  # one shape that is not opaque
    (principal(17, "name"), principal(18), DIFFERENT),
    (principal(UUID, "subject"), principal(UUID.upper()), SAME),
    (principal("a@x.org"), principal("A@X.org", "name"), SAME),
    (principal("a@x.org"), principal(17), INCOMPARABLE),
    (principal(17, tenant="t"), principal(17, tenant="t"), SAME),
    (principal(17, tenant="t"), principal(17, tenant="u"), DIFFERENT),
    (principal(17, tenant="t"), principal(17), SAME),
    (principal(17), principal(17, tenant="u"), SAME),
    (principal(17, tenant="t"), principal(18), DIFFERENT),
]


@pytest.mark.parametrize(("one", "other", "expected"), COMPARED)
def test_comparison(one: Principal, other: Principal, expected: int) -> None:
    assert compare(one, other) == expected
    assert compare(other, one) == expected


def test_aliases_answer_what_the_first_id_cannot() -> None:
    held = evidence_of({"id": 17, "sub": "auth0|abc", "email": "a@x.org"}, "scope.user")
    assert held is not None
    assert held.principal.user == "17"
    for same in (17, "auth0|abc", "A@x.org"):
        assert agree(held, principal(same)) == SAME  # type: ignore[arg-type]
    for other in (18, "auth0|abd", "b@x.org"):
        assert agree(held, principal(other)) == DIFFERENT  # type: ignore[arg-type]
    assert agree(held, principal("ann", "name")) == INCOMPARABLE  # type: ignore[arg-type]


def test_a_second_id_of_one_person_is_no_other_person() -> None:
    held = evidence_of({"user_id": "acme-17", "id": 17}, "scope.user")
    assert held is not None
    assert agree(held, principal(17)) == SAME  # type: ignore[arg-type]
    assert agree(held, principal("acme-17")) == SAME  # type: ignore[arg-type]
    assert agree(held, principal(18)) == DIFFERENT  # type: ignore[arg-type]


# --- who an object is -------------------------------------------------------------------------


class Plain:
    def __init__(self) -> None:
        self.user_id, self.email, self.org_id = 17, "A@x.org", "acme"


class Slots:
    __slots__ = ("email", "org_id", "unset", "user_id")

    def __init__(self) -> None:
        self.user_id, self.email, self.org_id = 17, "A@x.org", "acme"


@dataclass
class Data:
    user_id: int = 17
    email: str = "A@x.org"
    org_id: str = "acme"


@dataclass(frozen=True)
class Frozen:
    user_id: int = 17
    email: str = "A@x.org"
    org_id: str = "acme"


class Struct(msgspec.Struct):
    user_id: int = 17
    email: str = "A@x.org"
    org_id: str = "acme"


class Model(pydantic.BaseModel):
    user_id: int = 17
    email: str = "A@x.org"
    org_id: str = "acme"


CLAIMS = {"user_id": 17, "email": "A@x.org", "org_id": "acme"}


class Claims(dict[str, Any]):
    pass


HOLDERS = [Plain(), Slots(), Data(), Frozen(), Struct(), Model(), CLAIMS, Claims(CLAIMS)]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda it: type(it).__name__)
def test_who_an_object_is(holder: object) -> None:
    assert describe(holder) == [
        Principal("acme", "17", "id", "int"),
        Principal("acme", "a@x.org", "email", "email"),
    ]


def test_the_first_of_many_fields_is_the_one_that_says_user() -> None:
    found = describe({"name": "Ann", "id": 5, "user_id": 17, "sub": "s|1"})
    assert [one.user for one in found] == ["17", "5", "s|1", "Ann"]


def test_nobody() -> None:
    nobodies: list[object] = [None, {}, {"user_id": None}, object(), [17], (17,), {17}, 1.5, True]
    for nobody in nobodies:
        assert describe(nobody) == []
        assert evidence_of(nobody, "x") is None


def test_peek_reads_what_lies_there_and_nothing_else() -> None:
    class Base:
        __slots__ = ("slot",)
        constant = "class attribute"

        @property
        def computed(self) -> str:
            raise AssertionError("run")

    class Child(Base):
        def __init__(self) -> None:
            self.slot = 1
            self.own = 2

    child = Child()
    assert peek(child, "own") == 2
    assert peek(child, "slot") == 1
    assert peek(Slots(), "unset") is None
    for name in ("constant", "computed", "__class__", "__dict__", "peek", ""):
        assert peek(child, name) is None
    vars(child)["computed"] = 3  # beside the property, as ORMs keep loaded columns
    assert peek(child, "computed") == 3
    assert peek(int, "__name__") is None
    assert peek(None, "x") is None


def test_a_class_made_with_a_copy_of_anothers_namespace_has_fields_nobody_can_read() -> None:
    class Plain:
        email = None

    for original in (Plain, Slots):
        left_out = ("__slots__", "__init__")
        space = {name: it for name, it in vars(original).items() if name not in left_out}
        copied = type("Copied", (), space)()
        with pytest.raises(TypeError):
            copied.__dict__ if original is Plain else copied.email  # noqa: B018
        assert peek(copied, "email") is None
        assert not holds(copied)
        assert not fields_of(copied)


# --- nothing of the application runs ----------------------------------------------------------


@pytest.mark.parametrize("index", range(len(suspicious.objects())))
def test_nothing_of_the_application_is_run(index: int) -> None:
    thing = suspicious.objects()[index]
    for name in ("user_id", "own", "scope", "__dict__", "data", "websocket"):
        peek(thing, name)
    principal(thing)
    describe(thing)
    evidence_of(thing, "x")
    find_cell(thing)
    claim_of(thing, "path")
    for name in ("user_id", "tenant_id"):
        describe({name: thing})
        peek({name: thing}, name)
    find_cell({CELL_KEY: thing})
    claim_of({"user_id": thing}, "path")


def test_a_text_that_notices_is_read_as_what_it_holds() -> None:
    assert describe(suspicious.TouchyStr("alice")) == [principal("alice")]
    assert describe(suspicious.TouchyDict(user_id=17)) == [principal(17)]


# --- the connection's cell --------------------------------------------------------------------


def held(user: object, source: str = "x", strength: str = STRONG) -> Evidence:
    who = principal(user)
    assert who is not None
    return Evidence("connection", who, ACCEPT, source, strength)


def test_the_first_authenticated_principal_stays() -> None:
    cell = Cell(1, "asgi")
    assert cell.offer(held(17)) is None  # anonymous to user is no change
    assert cell.offer(held("17")) is None
    assert cell.offer(held("auth0|abc")) is None  # can't be compared: changes nothing
    dissent = cell.offer(held(18))
    assert dissent is not None
    assert dissent.principal.user == "18"
    assert cell.held == held(17)


def test_released_it_takes_the_next() -> None:
    cell = Cell(1, "asgi")
    cell.offer(held(17)._replace(source=f"{MANAGER}:connect.user_id"))
    cell.release()
    assert cell.held is None
    assert cell.offer(held(18)) is None
    assert cell.held == held(18)


def test_leaving_a_manager_is_no_logging_out() -> None:
    cell = Cell(1, "asgi")
    cell.offer(held(17)._replace(source="dependency:current_user"))
    cell.release()
    assert cell.held is not None
    assert cell.held.principal == principal(17)


@pytest.mark.parametrize("first", ["guest-7f3a", "anon_12", "Anonymous:3", "temp42"])
def test_a_guest_who_logs_in_is_no_second_user(first: str) -> None:
    cell = Cell(1, "asgi")
    cell.offer(held(first))
    assert cell.offer(held("bob")) is None
    assert cell.held == held("bob")
    assert cell.offer(held("eve")) == held("eve")


def test_a_login_name_is_its_users_whatever_the_field_is_called() -> None:
    login = held("alice").principal._replace(kind="name")
    both = held(17)._replace(aliases=(login,))
    assert agree(both, held("alice").principal) == SAME
    assert agree(both, held("bob").principal) == DIFFERENT


def test_a_second_dependency_says_what_else_the_same_text_is() -> None:
    """Token claims name `alice`; the user they are looked up for has the id `alice`."""
    cell = Cell(1, "asgi")
    name = held("alice").principal._replace(kind="name")
    cell.offer(held("alice")._replace(principal=name, source="dependency:claims"))
    assert cell.offer(held("alice")._replace(source="dependency:user")) is None
    assert cell.held is not None
    assert agree(cell.held, held("bob").principal) == DIFFERENT  # an id, too


def test_pinned_nothing_moves_it() -> None:
    cell = Cell(1, "asgi")
    cell.held, cell.pinned = held(17), True
    assert cell.offer(held(18)) is None
    cell.release()
    assert cell.held == held(17)


def test_copies_of_the_cell_are_the_cell_and_a_pickle_is_none() -> None:
    cell = Cell(1, "asgi")
    assert copy.copy(cell) is cell
    assert copy.deepcopy({"a": [cell]})["a"][0] is cell
    assert pickle.loads(pickle.dumps({"cell": cell})) == {"cell": None}
    assert "17" not in repr(cell)


def test_the_cell_is_found_where_applications_keep_their_sockets() -> None:
    cell = Cell(1, "asgi")
    scope = {CELL_KEY: cell}

    class WebSocket:
        def __init__(self) -> None:
            self.scope = scope

    class Slotted:
        __slots__ = ("ws",)

    slotted = Slotted()
    slotted.ws = WebSocket()  # type: ignore[attr-defined]
    for name in naming.SOCKET_ATTRIBUTES:
        keeper = type("Keeper", (), {})()
        setattr(keeper, name, WebSocket())
        assert find_cell(keeper) == (cell, scope)
    for known in (scope, WebSocket(), slotted):
        assert find_cell(known) == (cell, scope)
    for value in (None, "x", b"x", 5, 1.5, {}, {CELL_KEY: "x"}, object(), {"scope": {}}):
        assert find_cell(value) is None


def test_a_claim_is_weak() -> None:
    found = claim_of({"room": "r", "user_id": "17"}, "path")
    assert found is not None
    assert (found.principal.user, found.source, found.strength) == ("17", "path.user_id", WEAK)
    assert claim_of({"room": "r"}, "path") is None
    assert claim_of(None, "path") is None


# --- the hash ---------------------------------------------------------------------------------

# Computed with OpenSSL 3: `printf '[null,"17"]' | openssl mac -macopt hexkey:6b6579
# -macopt size:16 BLAKE2BMAC`; a key over 64 bytes was hashed with b2sum first.
VECTORS = [
    ("key", None, "17", "187c9fd3f959b32b180ec86d66e171cb"),
    ("key", "acme", "17", "f61fce24a7f7efd3f005ffc6386171df"),
    ("key", None, UUID, "85b1b42f92528732144a6fe8683293e6"),
    ("key", None, "ann@example.org", "348e94b5c94f70757de7a951b5160d45"),
    ("key", "Ünit", "auth0|abc", "06aef8a3357d931969897d2dca6d54ff"),
    ("schlüssel", None, "17", "89bae77152153f969fe231b847b10a66"),
    ("k" * 64, None, "17", "1e394296bfac5ebdd158f40525ff9ad2"),
    ("k" * 65, None, "17", "2992331d327f595e2f23c05f199d594b"),
]


@pytest.mark.parametrize(("key", "tenant", "user", "expected"), VECTORS)
def test_hash_vectors(key: str, tenant: str | None, user: str, expected: str) -> None:
    who = principal(user, tenant=tenant)
    hasher = Hasher(key)
    assert hasher(who) == expected
    assert hasher(who) == expected  # the second time from its memory


def test_the_hash_is_of_the_canonical_form() -> None:
    hasher = Hasher("key")
    assert hasher(principal("0017")) == hasher(principal(17)) == VECTORS[0][3]
    assert hasher(principal("Ann@Example.org")) == VECTORS[3][3]
    assert hasher(principal(uuid.UUID(UUID))) == VECTORS[2][3]
    assert hasher(principal(17, "subject")) == VECTORS[0][3]  # the kind is no part of it
    assert hasher(None) == ""


@given(st.text(max_size=200), st.one_of(st.none(), st.text(max_size=20)), st.text(max_size=80))
def test_any_text_has_a_hash(user: str, tenant: str | None, key: str) -> None:
    value = Hasher(key)(Principal(tenant, user, "id", "opaque"))
    assert len(value) == 32
    assert set(value) <= set("0123456789abcdef")


def test_two_that_hash_alike_have_one_id_and_it_is_nobodys_hash() -> None:
    assert Hasher("key").id == Hasher("key").id != Hasher("other").id
    assert len(Hasher("key").id) == 8
    assert not Hasher("key")(principal("ws-audit hash key")).startswith(Hasher("key").id)


def test_lone_surrogates_have_one_too() -> None:
    assert len(Hasher("k\udc80")(principal("a\ud800"))) == 32


def test_the_memory_of_hashes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hasher, "_ENTRIES", 10)
    hasher = Hasher("key")
    for number in range(100):
        hasher(principal(number))
    assert len(hasher._known) <= 10
