# SPDX-License-Identifier: Apache-2.0
"""A false alarm, its policy proposed and tried on what is stored, then declared: all agree.

A real server, audited, shows people other people's data on purpose and once by mistake. What a
review tells of it under the proposed policies is what the same server's review tells once they
are configured.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from tests.real.test_policies import SUPPORT, Client, Lounge
from tests.real.world import serve
from ws_audit.review.rejudging import rejudge
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, environment

if TYPE_CHECKING:
    from pathlib import Path

STORM = 130  # presence messages: past the hundredth of a pair there are aggregates


def played(folder: Path, cast: Cast, config: str) -> dict[str, Any]:
    """The review of a service with this configuration after everybody has done the same."""
    with contextlib.ExitStack() as held:
        settings = {"WS_AUDIT_INCLUDE": "lounge.*"}
        service = held.enter_context(
            serve(folder, cast, app="lounge:app", settings=settings, config=config)
        )
        clients = []
        for token, user in cast.tokens.items():
            url = f"ws://{HOST}:{service.port}/ws?token={token}"
            clients.append(Client(held.enter_context(connect(url, proxy=None)), user))
            clients[-1].rest()
        lounge = Lounge(service, clients)
        lounge.ann.ask("watch")
        for _ in range(STORM):
            lounge.ann.ask("presence", text="SECRET-1")
        lounge.ann.ask("tell", text="SECRET-2")
        lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-3")
        lounge.page()
        lounge.service.stop()
        return lounge.service.review()


def asked(store: Path, cast: Cast, *words: str) -> tuple[int, str, str]:
    """`ws-audit review` with these words: exit code, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "ws_audit", "review", *words],
        env={**environment(), "WS_AUDIT_HASH_KEY": cast.hash_key},
        cwd=store.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def told(review: dict[str, Any]) -> list[dict[str, Any]]:
    """The incidents of a review, without when they were."""
    times = ("first_seen", "last_seen", "trace_ids", "ongoing")
    found = []
    for incident in review["incidents"]:
        kept = {key: value for key, value in incident.items() if key not in times}
        kept["pairs"] = sorted(
            (it["recipient"], it["owner"], it["severity"], it["events"]) for it in kept["pairs"]
        )
        found.append(kept)
    return sorted(found, key=lambda it: str(it["id"]))


def test_what_is_proposed_excuses_live_what_it_excuses_in_the_review(tmp_path: Path) -> None:
    cast = Cast.of(4)
    support = list(cast.tokens.values())[3]
    before = played(tmp_path / "one", cast, "")
    store = tmp_path / "one" / "trace"
    (presence,) = [it for it in before["incidents"] if it["attempted"] == 3 * STORM]

    # The incident is no leak, says somebody who knows.
    code, proposed, errors = asked(store, cast, str(store), "--not-a-leak", presence["id"])
    assert (code, errors) == (0, "")
    assert 'events = ["presence.update"]' in proposed
    assert f"all {3 * STORM} deliveries would be excused" in proposed
    assert "It would excuse no delivery of another incident" in proposed

    # What it prints is the configuration, as it stands; beside it another exception.
    config = proposed + SUPPORT.replace("{support}", support)
    file = tmp_path / "tried.toml"
    file.write_text(config)
    words = (str(store), "--policy", str(file))
    code, text, errors = asked(store, cast, *words, "--format", "json")
    assert (code, errors) == (1, "")  # the leak is still one
    replayed = json.loads(text)
    assert not [it for it in replayed["incidents"] if it["id"] == presence["id"]]
    assert [it["attempted"] for it in replayed["incidents"]] == [1]

    after = played(tmp_path / "two", cast, config)
    assert told(replayed) == told(after)
    assert len(told(after)) == 1
    assert replayed["coverage"] == after["coverage"]

    # The same for people, and the difference alone for machines.
    code, text, errors = asked(store, cast, *words)
    assert (code, errors) == (1, "")
    assert f"would be none: {presence['id']}" in text
    assert f"{3 * STORM} excused by [[policy]] 1 (broadcast: " in text
    code, text, errors = asked(store, cast, "replay", *words, "--format", "json")
    difference = json.loads(text)
    gone = [it for it in difference["incidents"] if it["what"] == "vanishes"]
    assert [it["id"] for it in gone] == [presence["id"]]
    (other,) = [it for it in difference["incidents"] if it["what"] == "changes"]
    assert other["excused"] == [{"policies": [2], "deliveries": 2}]
    assert not any(it["untold"] for it in difference["incidents"])

    # Without the key nobody can tell whom a policy names: then it excuses nobody for sure.
    code, text, errors = asked(store, Cast({}, ""), "replay", *words, "--format", "json")
    assert (code, errors) == (1, "")
    unsure = json.loads(text)
    (untold,) = [it for one in unsure["incidents"] for it in one["untold"]]
    assert untold == {"reason": rejudge.USERS, "deliveries": 3}
    assert [it["what"] for it in unsure["incidents"]] == ["stays", "vanishes"]
    assert any("3 of 393 stored violations cannot be judged again" in it for it in unsure["notes"])
