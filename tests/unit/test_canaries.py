# SPDX-License-Identifier: Apache-2.0
"""Tokens of synthetic users: found wherever they stand, on whoever's connection but their own."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_audit.evidence.canaries import Canaries
from ws_audit.model import ACCEPT, STRONG, WEAK, Evidence, Principal
from ws_audit.principals.identity import principal

ONE, TWO = "cnry_9f1c0a7be24d5e68", "cnry_03bd6614ca70ff91"
TOKENS = {"canary-1": ONE, "canary-2": TWO}


def of(user: str, kind: str = "id", *aliases: str) -> Evidence:
    others = tuple(who(one) for one in aliases)
    return Evidence("connection", who(user, kind), ACCEPT, "x", STRONG, True, others)


def who(user: str, kind: str = "id") -> Principal:
    found = principal(user, kind)
    assert found is not None
    return found


def owner(content: object, connection: Evidence, tokens: dict[str, str] = TOKENS) -> str:
    found = Canaries(tokens, 10_000).search(content, connection)
    if found is None:
        return ""
    assert found.name == "canary"
    assert not found.attests
    assert not any(token in repr(found) for token in tokens.values())
    return found.principal.user


class Text(str):
    __slots__ = ()

    def find(self, *_: object) -> int:
        raise AssertionError("the application's code runs")

    def __contains__(self, _: object) -> bool:
        raise AssertionError("the application's code runs")


@pytest.mark.parametrize(
    "content",
    [
        ONE,
        f"  {ONE}  ",
        json.dumps({"data": [{"text": f"Hello{ONE}!"}]}),
        f'42["event",{{"x":"{ONE}"}}]',
        f"<b>{ONE}</b>",
        f"/share?t={ONE}&x=1",
        "ä" * 100 + ONE,
        Text(f"x{ONE}"),
        ONE.encode(),
        b"\x00\xff\xfe" + ONE.encode() + b"\x80",
        bytearray(ONE.encode()),
        memoryview(ONE.encode()),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, memoryview) else repr(it),
)
def test_wherever_it_stands(content: object) -> None:
    assert owner(content, of("ann")) == "canary-1"
    assert owner(content, of("canary-2")) == "canary-1"
    assert owner(content, of("canary-1")) == ""


@pytest.mark.parametrize(
    "content", ["", b"", "cnry_", ONE[:-1], ONE.upper(), 17, None, [ONE]], ids=repr
)
def test_what_is_none(content: object) -> None:
    assert owner(content, of("ann")) == ""


def test_somebody_elses_behind_ones_own() -> None:
    assert owner(f"{ONE} {TWO}", of("canary-1")) == "canary-2"
    assert owner(ONE * 90 + TWO, of("canary-1")) == "canary-2"


def test_no_more_is_read_than_allowed() -> None:
    canaries = Canaries(TOKENS, 100)
    assert canaries.search(" " * 79 + ONE, of("ann")) is not None
    assert canaries.search(" " * 80 + ONE, of("ann")) is None


def test_the_file_may_name_a_user_by_any_of_their_names() -> None:
    assert owner(ONE, of("canary-1", "name")) == ""
    assert owner(ONE, of("auth0|x", "id", "canary-1")) == ""
    # Nobody can say whether auth0|x is canary-1: the judge calls it incomparable.
    assert owner(ONE, of("auth0|x")) == "canary-1"
    mixed = {"17": ONE, "auth0|y": TWO}
    assert owner(f"{ONE} {TWO}", of("auth0|x"), mixed) == "auth0|y"
    assert owner(f"{TWO} {ONE}", of("auth0|x"), mixed) == "auth0|y"


def test_a_file_of_names_is_one_when_somebody_in_it_was_connected() -> None:
    search = Canaries(TOKENS, 10_000).search

    def kind(connection: Evidence) -> str:
        found = search(ONE, connection)
        assert found is not None
        return found.principal.kind

    ann = of("ann", "name")
    assert kind(ann) == "id"  # maybe ann's own id: incomparable
    assert search(TWO, of("canary-2", "name")) is None
    assert kind(ann) == "name"
    assert kind(of("auth0|x", "subject")) == "id"
    assert kind(of("17", "name")) == "id"


def test_on_a_connection_whose_user_is_only_claimed() -> None:
    assert owner(ONE, of("ann")._replace(strength=WEAK)) == "canary-1"


@given(
    st.sets(st.from_regex(r"[A-Za-z0-9._~:-]{12}", fullmatch=True), min_size=1, max_size=40),
    st.text(max_size=50),
    st.text(max_size=50),
)
def test_each_of_many_is_found(tokens: set[str], before: str, after: str) -> None:
    """All of one length, so none is part of another; the text around may hold others."""
    named = {f"u{number}": token for number, token in enumerate(sorted(tokens))}
    canaries = Canaries(named, 10_000)
    for user, token in named.items():
        for content in (before + token + after, (before + token + after).encode()):
            found = canaries.search(content, of("ann"))
            assert found is not None
            there = {name for name, one in named.items() if one in before + token + after}
            assert found.principal.user in there
            assert user in there


def test_a_thousand_tokens_without_a_common_beginning() -> None:
    rng = random.Random(7)
    named = {f"u{n}": f"{rng.getrandbits(80):020x}" for n in range(1_000)}
    canaries = Canaries(named, 100_000)
    filler = "".join(f"{rng.getrandbits(64):016x}" for _ in range(1_000))
    assert canaries.search(filler, of("ann")) is None
    found = canaries.search(filler + named["u500"], of("ann"))
    assert found is not None
    assert found.principal.user == "u500"
