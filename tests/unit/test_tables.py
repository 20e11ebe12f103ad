# SPDX-License-Identifier: Apache-2.0
"""The bounded tables under threads and forks: counted once, known by its parent's owner."""

from __future__ import annotations

import gc
import sys
import threading

import pytest

from ws_audit.messages.intents import Intent, Intents
from ws_audit.messages.sites import caller
from ws_audit.messages.tables import KNOWN, NEW, Instances
from ws_audit.model import CONSTRUCT, OK, SEND, STRONG, Call, Evidence
from ws_audit.principals.identity import principal
from ws_audit.tally import Tally


class Manager:
    pass


def owner() -> Evidence:
    who = principal("ada")
    assert who is not None
    return Evidence("instance", who, CONSTRUCT, "user_id", STRONG)


def test_a_childs_instances_count_when_it_sees_them_and_keep_their_owner() -> None:
    gone: list[str] = []
    instances = Instances(gone.append)
    seen, unseen = Manager(), Manager()
    for each in (seen, unseen):
        assert instances.add(each, "m", owner())[0] == NEW
    instances.forget()
    assert instances.find(seen) is None
    status, entry = instances.add(seen, "m", None)
    assert (status, entry.owner) == (NEW, owner())
    assert instances.add(seen, "m", None)[0] == KNOWN
    del unseen, each
    gc.collect()
    assert gone == []  # it was the parent's
    assert instances.live() == [seen]
    del seen
    gc.collect()
    assert gone == ["m"]
    assert instances.live() == []


@pytest.fixture
def often() -> object:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: object, threads: int = 8) -> None:
    """Call it from threads that begin together."""
    barrier = threading.Barrier(threads)

    def run() -> None:
        barrier.wait()
        work()  # type: ignore[operator]

    crew = [threading.Thread(target=run) for _ in range(threads)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()


@pytest.mark.usefixtures("often")
def test_one_instance_seen_by_many_threads_at_once_is_new_to_one() -> None:
    for _ in range(200):
        instances, instance = Instances(lambda _: None), Manager()
        said: list[str] = []
        at_once(lambda: said.append(instances.add(instance, "m", None)[0]))  # noqa: B023
        assert said.count(NEW) == 1


@pytest.mark.usefixtures("often")
def test_an_event_is_settled_once_whoever_comes_first() -> None:
    records: list[Call] = []
    tally = Tally()
    intents = Intents(tally, records.append, lambda: None)
    for _ in range(300):
        intent = Intent(SEND, "m", "f", caller(1))
        at_once(lambda: intents._settle(intent, [], OK))  # noqa: B023
    assert len(records) == 300
    assert tally.total() == {("sent", "m", "none", OK): 300}
