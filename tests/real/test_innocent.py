# SPDX-License-Identifier: Apache-2.0
"""What names other people on purpose wakes nobody; the leaks that look like it do."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from websockets.sync.client import ClientConnection, connect

from tests.real.world import at_rest, leaks, serve
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

CAST = Cast({f"token-{name}": name for name in ("ann", "bob", "eve")}, "k" * 32)
APP = {"app": "harbour:app", "settings": {"WS_AUDIT_INCLUDE": "harbour"}}
PAYLOAD, INSTANCE, ARGUMENT = (
    f"{one}_vs_connection" for one in ("payload", "instance", "argument")
)


def do(socket: ClientConnection, what: str, **more: Any) -> list[str]:
    """A command, until it is answered; the events that came before."""
    socket.send(json.dumps({"do": what, **more}))
    got = []
    while (kind := json.loads(socket.recv(5))["type"]) != "done":
        got.append(kind)
    return got


def test_the_innocent_and_what_looks_like_it(tmp_path: Path) -> None:
    with serve(tmp_path, CAST, **APP) as service, ExitStack() as stack:  # type: ignore[arg-type]
        ann, bob, eve = (
            stack.enter_context(connect(f"{service.url}?token={token}")) for token in CAST.tokens
        )
        assert do(ann, "sail") == ["sail"]  # Bob comes before her, Eve after
        assert do(ann, "report") == do(bob, "report")[-1:] == do(eve, "report")[-1:] == ["report"]
        assert do(bob, "follow", user_id="ann") == ["following"]
        assert do(eve, "chart") == ["chart"]
        assert do(eve, "diary") == ["diary"]
        assert do(bob, "misdirected") == ["letter"]
        for socket in (ann, bob, eve):
            socket.close()
        page = at_rest(service)
        service.stop()
        found: Counter[tuple[str, str, str, str]] = Counter()
        names = {CAST.hash_of(name): name for name in ("ann", "bob", "eve")}
        for incident in leaks(service.review()):
            for pair in incident["pairs"]:
                recipient, owner = names[pair["recipient"]], names[pair["owner"]]
                found[incident["rule"], pair["severity"], recipient, owner] += pair["events"]
    assert found == {
        (PAYLOAD, "suspected", "bob", "ann"): 2,  # the crew's message, and whom Bob follows
        (PAYLOAD, "suspected", "eve", "ann"): 2,  # the crew's message, and the chart
        (INSTANCE, "suspected", "bob", "ann"): 1,  # the pool's messenger was made for Ann
        (INSTANCE, "suspected", "eve", "ann"): 1,
        (PAYLOAD, "probable", "eve", "ann"): 1,  # the diary
        (ARGUMENT, "confirmed", "bob", "ann"): 1,  # the letter
    }
    assert page.balanced()
    assert page.troubles() == {"dropped": {}, "errors": {}}
