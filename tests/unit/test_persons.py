# SPDX-License-Identifier: Apache-2.0
"""What a declared `aliases` function is asked about: a text, and what else is known of it."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent, module_of
from ws_audit.hooks.person import Person
from ws_audit.model import Principal

if TYPE_CHECKING:
    from collections.abc import Callable

WHO = Principal("acme", "auth0|abc", "subject", "opaque")
OTHER_NAMES: dict[str, list[Any]] = {"auth0|abc": ["al", 17], "auth0|xyz": ["zoe"]}


def by_attribute(principal: Any) -> Any:
    return OTHER_NAMES.get(principal.user)


def by_text(principal: Any) -> Any:
    return OTHER_NAMES[str(principal)]


def by_key(principal: Any) -> Any:
    if principal in OTHER_NAMES:
        return set(OTHER_NAMES[principal])
    return None


def by_comparison(principal: Any) -> Any:
    return next((names for user, names in OTHER_NAMES.items() if user == principal), [])


def by_format(principal: Any) -> Any:
    return OTHER_NAMES.get(f"{principal}"), OTHER_NAMES.get("%s" % principal)  # noqa: UP031


def by_its_parts(principal: Any) -> Any:
    provider, _, rest = principal.partition("|")
    assert (provider, principal.split("|")) == ("auth0", ["auth0", rest])
    return {"abc": {"al", 17}}.get(rest, set())


def by_pattern(principal: Any) -> Any:
    import re

    match = re.fullmatch(r"auth0\|(\w+)", principal)
    return ["al", 17] if match and match[1] == "abc" else None


def by_tenant(principal: Any) -> Any:
    return [17, "al"] if (principal.tenant, principal.kind) == ("acme", "subject") else []


def itself_too(principal: Any) -> Any:
    return [principal, "al", 17]


STYLES = [by_attribute, by_text, by_key, by_comparison, by_its_parts, by_pattern, by_tenant]


def verdicts(one: Agent, *owners: Any, user: Any = None) -> list[str]:
    """Of messages for each owner to a user whom the scope knows by a subject."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        for owner in owners:
            await socket.send_text(json.dumps({"user_id": owner}))

    one.serve(handler, Socket(user or {"sub": "auth0|abc", "tenant_id": "acme"}))
    return one.verdicts()


@pytest.mark.parametrize("function", [*STYLES, itself_too])
def test_functions_of_each_style_answer(function: Callable[[Any], Any]) -> None:
    module_of("styles", names=function)
    with agent(identity_aliases="styles:names") as one:
        assert verdicts(one, 17, "al", 18) == ["match", "match", "payload_vs_connection:probable"]
        assert one.said == []
        assert one.counted("error") == {}
        for record in one.deliveries():
            for evidence in record.evidence:
                for who in (evidence.principal, *evidence.aliases):
                    assert type(who) is Principal
                    assert type(who.user) is str  # and not what the function was given


def test_a_function_that_formats_gets_the_text() -> None:
    module_of("styles", names=by_format)
    with agent(identity_aliases="styles:names") as one:
        verdicts(one, 17)
        assert one.said == []
        assert by_format(Person(WHO)) == (["al", 17], ["al", 17])


def test_numbers_are_text_and_the_usual_mistake_is_told() -> None:
    people: dict[Any, list[str]] = {17: ["auth0|abc"]}
    module_of("styles", names=lambda who: people[who], right=lambda who: people[int(who)])
    with agent(identity_aliases="styles:names") as one:
        assert verdicts(one, "auth0|abc", user={"id": 17}) == ["unattributed:incomparable"]
        (said,) = one.said
        assert said.startswith("identity.aliases = 'styles:names': it raised KeyError")
        assert '(it gets an identifier as text: "17", not 17)' in said
        assert one.counted("error") == {("declared",): 1}
    with agent(identity_aliases="styles:right") as one:
        assert verdicts(one, "auth0|abc", user={"id": 17}) == ["match"]


def test_its_text_is_a_strings_and_what_is_kept_of_it_is_plain() -> None:
    person = Person(WHO)
    assert (person, person.user, person.tenant, person.kind) == (
        *("auth0|abc", "auth0|abc"),
        *("acme", "subject"),
    )
    assert hash(person) == hash("auth0|abc")
    assert {"auth0|abc"} == {person}
    assert json.dumps({person: person}) == '{"auth0|abc": "auth0|abc"}'
    for plain in (str(person), pickle.loads(pickle.dumps(person)), copy.deepcopy(person)):
        assert type(plain) is str
        assert plain == "auth0|abc"
    assert not hasattr(person, "__dict__")


def test_it_shows_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Error reports and debuggers print arguments by their repr."""
    person = Person(WHO)
    with caplog.at_level(logging.INFO):
        logging.getLogger("app").info("asked about %r, %s", person, [person])
    nobody: dict[str, str] = {}
    try:
        nobody[person]
    except KeyError as error:
        shown = f"{error} {error!r} {person!r} {caplog.text}"
    assert "abc" not in shown
    assert "acme" not in shown


def test_what_an_application_keeps_of_it_may_be_sent() -> None:
    """As a cache that fills itself with what it is asked for, and is read by the sender."""
    cache: dict[str, str] = {}
    module_of("styles", names=lambda who: cache.setdefault("owner", who) and ["al"])

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.send_text('{"user_id": 17}')
        await socket.send_text(json.dumps({"user_id": cache["owner"]}))
        await Hub().notify(cache["owner"], {"text": "x"}, socket)

    class Hub:
        async def notify(self, user_id: str, message: Any, over: Socket) -> None:
            await over.send_text(json.dumps(message))

    with agent(identity_aliases="styles:names") as one:
        one.patch(Hub)
        asyncio.run(one.run(handler, Socket({"sub": "auth0|abc"})))
        assert type(cache["owner"]) is Person
        assert one.verdicts()[1:] == ["match", "match"]
