# SPDX-License-Identifier: Apache-2.0
"""Factories: what they hand out, made or reused, for whom; and nothing they do changes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import weakref
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, agent
from ws_audit.classes.discovery import local_classes
from ws_audit.classes.factories import factories_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

HERE = sys.modules[__name__]


class PersonalHub:
    """One a user."""

    def __init__(self, user_id: str | None = None) -> None:
        self.user_id = user_id

    async def send_to_user(self, user_id: str, message: str) -> None: ...


class OtherHub(PersonalHub):
    async def send_to_user(self, user_id: str, message: str) -> None: ...


class Context:
    """What some paths of a factory return instead."""


ONLY: list[PersonalHub] = []
POOL: dict[str, PersonalHub] = {}


def get_hub(user_id: str) -> Any:
    """The same for everybody."""
    if not ONLY:
        ONLY.append(PersonalHub())
    return ONLY[0]


def create_hub(user_id: str, kind: str = "personal") -> Any:
    if kind == "none":
        return None
    if kind == "fail":
        raise LookupError(kind)
    if kind == "context":
        return Context()
    return PersonalHub(user_id) if kind == "personal" else OtherHub(user_id)


async def get_hub_async(user_id: str) -> PersonalHub:
    await asyncio.sleep(0)
    return POOL.setdefault(user_id, PersonalHub(user_id))


def provide_hub() -> Iterator[PersonalHub]:
    hub = PersonalHub()
    yield hub
    hub.user_id = "closed"


async def provide_hub_async() -> AsyncIterator[PersonalHub]:
    yield PersonalHub()


@cache
def get_shared_hub() -> PersonalHub:
    return PersonalHub()


def make_local_hub() -> Any:
    class LocalHub:
        async def send_to_user(self, user_id: str, message: str) -> str:
            return message

    return LocalHub()


def anything() -> PersonalHub:
    """Only its annotation speaks of hubs."""
    return PersonalHub()


def get_bus() -> list[int]:
    """Called like a factory, and none."""
    return [1]


class HubFactory:
    def create(self, user_id: str) -> PersonalHub:
        return PersonalHub(user_id)

    @classmethod
    def for_user(cls, user_id: str) -> PersonalHub:
        return PersonalHub(user_id)

    @staticmethod
    def get_instance() -> Any:
        return get_hub("x")

    def describe(self) -> str:
        return "none"


NAMES = [
    "get_hub",
    "create_hub",
    "get_hub_async",
    "provide_hub",
    "provide_hub_async",
    "get_shared_hub",
    "make_local_hub",
    "anything",
    "get_bus",
]


@pytest.fixture
def audited() -> Iterator[Agent]:
    ONLY.clear()
    POOL.clear()
    get_shared_hub.cache_clear()
    with agent() as made:
        made.patch(PersonalHub, OtherHub)
        for factory in factories_of(HERE):
            made.runtime.factory(factory)
        yield made


def products(audited: Agent) -> dict[tuple[str, str, str], int]:
    short = {}
    for (factory, product, how), amount in audited.counted("product").items():
        short[factory.partition(":")[2], product.partition(":")[2] or product, how] = amount
    return short


def test_they_are_found_by_name_and_annotation() -> None:
    found = {
        factory.name if isinstance(factory.owner, ModuleType) else f"HubFactory.{factory.name}"
        for factory in factories_of(HERE)
    }
    assert found == {*NAMES, "HubFactory.create", "HubFactory.for_user", "HubFactory.get_instance"}


def test_what_comes_is_counted_made_or_reused(audited: Agent) -> None:
    get_hub("alice")
    get_hub("alice")
    create_hub("alice")
    create_hub("bob", "other")
    asyncio.run(get_hub_async("alice"))
    asyncio.run(get_hub_async("alice"))
    get_shared_hub()
    get_shared_hub()
    anything()
    HubFactory().create("alice")
    HubFactory.for_user("alice")
    assert products(audited) == {
        ("get_hub", "PersonalHub", "made"): 1,
        ("get_hub", "PersonalHub", "reused"): 1,
        ("create_hub", "PersonalHub", "made"): 1,
        ("create_hub", "OtherHub", "made"): 1,
        ("get_hub_async", "PersonalHub", "made"): 1,
        ("get_hub_async", "PersonalHub", "reused"): 1,
        ("get_shared_hub", "PersonalHub", "made"): 1,
        ("get_shared_hub", "PersonalHub", "reused"): 1,
        ("anything", "PersonalHub", "made"): 1,
        ("HubFactory.create", "PersonalHub", "made"): 1,
        ("HubFactory.for_user", "PersonalHub", "made"): 1,
    }
    page = audited.page()
    name = f"{__name__}:get_hub,{__name__}:PersonalHub"
    assert page[f"ws_audit_factory_products_total{{{name}}}"] == 2


def test_a_static_factory_that_calls_another_counts_for_both(audited: Agent) -> None:
    assert HubFactory.get_instance() is ONLY[0]
    assert products(audited) == {
        ("get_hub", "PersonalHub", "made"): 1,
        ("HubFactory.get_instance", "PersonalHub", "made"): 1,
    }


def test_a_generator_s_product_is_what_it_yields(audited: Agent) -> None:
    (hub,) = provide_hub()
    assert hub.user_id == "closed"

    async def main() -> list[PersonalHub]:
        return [one async for one in provide_hub_async()]

    asyncio.run(main())
    assert products(audited) == {
        ("provide_hub", "PersonalHub", "made"): 1,
        ("provide_hub_async", "PersonalHub", "made"): 1,
    }


def test_other_products_count_once_it_has_shown_to_be_a_factory(audited: Agent) -> None:
    create_hub("alice", "context")
    create_hub("alice", "none")
    get_bus()
    assert products(audited) == {}
    create_hub("alice")
    create_hub("alice", "context")
    with pytest.raises(LookupError):
        create_hub("alice", "fail")
    assert products(audited) == {
        ("create_hub", "Context", "reused"): 2,
        ("create_hub", "none", "reused"): 1,
        ("create_hub", "PersonalHub", "made"): 1,
    }


def test_a_class_made_inside_a_factory_is_hooked_when_it_comes(audited: Agent) -> None:
    hub = make_local_hub()
    assert type(hub) in audited.runtime.installer
    assert asyncio.run(hub.send_to_user("alice", "x")) == "x"
    assert products(audited) == {
        ("make_local_hub", "make_local_hub.<locals>.LocalHub", "reused"): 1
    }
    assert [call.manager.partition(":")[2] for call in calls(audited)] == [
        "make_local_hub.<locals>.LocalHub"
    ]


def calls(audited: Agent) -> list[Any]:
    audited.runtime.intents.expire(2**63)  # nobody delivers here: settle them
    return audited.calls()


def test_classes_of_one_request_do_not_stay(audited: Agent) -> None:
    before = len(audited.runtime.installer), audited.runtime.installer.states["patched"]
    gone = [weakref.ref(type(make_local_hub())) for _ in range(50)]
    gc.collect()
    assert [one for one in gone if one() is not None] == []
    assert (len(audited.runtime.installer), audited.runtime.installer.states["patched"]) == before
    labels = [name for name in audited.runtime.managers.known if "LocalHub" in name]
    assert len(labels) == 1


def test_local_classes_are_found_where_they_live() -> None:
    hub = make_local_hub()
    assert type(hub) in local_classes({__name__})
    assert type(hub) not in local_classes({"elsewhere"})


def test_one_object_for_two_users_is_told_once(audited: Agent) -> None:
    for user_id in ("alice", "alice", "bob", "alice", "bob"):
        get_hub(user_id)
    (event,) = audited.deliveries()
    verdict = event.verdict
    assert (verdict.rule, verdict.severity) == ("shared_instance", "hygiene")
    assert [one.principal.user for one in event.evidence] == ["bob", "alice"]
    assert event.manager == f"{__name__}:PersonalHub"
    assert event.site.startswith(f"{__name__}:")
    assert audited.counted("delivery") == {}  # no delivery went wrong


def test_an_object_built_for_one_and_handed_to_another_is_told(audited: Agent) -> None:
    POOL["bob"] = PersonalHub("alice")
    asyncio.run(get_hub_async("bob"))
    (event,) = audited.deliveries()
    assert event.verdict.rule == "shared_instance"
    assert audited.runtime.created.of((POOL["bob"],)).owner is not None  # still alice's


def test_a_constructor_that_runs_again_for_somebody_else_voids_the_owner(audited: Agent) -> None:
    hub = PersonalHub("alice")
    owner = audited.runtime.created.of((hub,)).owner
    assert owner is not None
    assert owner.principal.user == "alice"
    hub.__init__("alice")  # type: ignore[misc]
    assert audited.deliveries() == []
    hub.__init__("bob")  # type: ignore[misc]
    hub.__init__("carol")  # type: ignore[misc]
    (event,) = audited.deliveries()
    assert (event.verdict.rule, event.evidence[0].principal.user) == ("shared_instance", "bob")
    assert audited.runtime.created.of((hub,)).owner is None
    assert audited.counted("created")[f"{__name__}:PersonalHub",] == 1


ORIGINAL = {name: vars(HERE)[name] for name in NAMES}
ORIGINAL_METHODS = dict(vars(HubFactory))


def test_they_stay_what_they_were(audited: Agent) -> None:
    for name, before in ORIGINAL.items():
        now = vars(HERE)[name]
        assert now is not before
        assert inspect.signature(now) == inspect.signature(before)
        kinds: list[Callable[[object], bool]] = [
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
        ]
        assert [kind(now) for kind in kinds] == [kind(before) for kind in kinds], name
    assert get_shared_hub.cache_info().misses == 0
    audited.remove()
    for name, before in ORIGINAL.items():
        assert vars(HERE)[name] is before
    assert {
        name: value
        for name, value in vars(HubFactory).items()
        if value is not ORIGINAL_METHODS[name]
    } == {}


def test_labels_are_bounded(audited: Agent) -> None:
    kinds = [type(f"Kind{number}", (), {}) for number in range(200)]
    create_hub("alice")
    for kind in kinds:
        audited.runtime._products.label(kind)
    assert len(audited.runtime._products.known) == 50
    create_hub("alice", "context")
    assert products(audited)["create_hub", "other", "reused"] == 1
