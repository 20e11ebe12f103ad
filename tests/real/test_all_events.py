# SPDX-License-Identifier: Apache-2.0
"""`store.events = "all"` in a real service: what the store has is what the clients saw.

Two processes have an account each: the clients count their frames, the agent writes its events.
Then the service is killed in the midst of a run, and what is on disk must still be whole lines.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.real.world import at_rest, drive, eventually, plain, serve, stored
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = '[store]\nevents = "all"\nneighbours = 0\n'


def test_every_frame_is_an_event_and_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    with serve(tmp_path, Cast.of(4), defects="fanout_bug", config=CONFIG) as service:
        assert "all events" in service.said()
        received = drive(service, runs=2, patience=0.5)
        page = at_rest(service)
        frames = page.balanced()

        def found() -> list[dict[str, object]]:
            spans = stored(service.store, "events")
            return [span for span in spans if span["name"] == "ws_audit.delivery"]

        deliveries = eventually(
            "as many events as frames", 5, lambda: len(found()) >= frames and found()
        )
        assert len(deliveries) == frames
        went = [it for it in deliveries if it["attributes"]["ws_audit.outcome"] == "ok"]
        got = Counter(service.cast.hash_of(frame["recipient"]) for frame in received.frames)
        told = Counter(it["attributes"]["user.hash"] for it in went)
        assert told == got
        assert sum(told.values()) == received.result["frames"]
        verdicts = Counter(it["attributes"]["ws_audit.verdict"] for it in deliveries)
        assert verdicts == page.by("ws_audit_verdicts_total", "verdict")
        assert verdicts["violation"] == sum(received.pairs().values())
        sends = {
            span["spanId"]: span
            for span in stored(service.store, "events")
            if span["name"].startswith("ws_audit.send")
        }
        for it in deliveries:
            if "parentSpanId" in it:
                assert sends[it["parentSpanId"]]["traceId"] == it["traceId"]
        assert page.troubles() == {"dropped": {}, "errors": {}}

        token = next(iter(service.cast.tokens))
        with connect(f"{service.url}?token={token}", proxy=None, close_timeout=0.1) as client:
            for _ in range(20):
                client.send(json.dumps({"type": "user_message", "text": "again"}))
            eventually("some of the new ones", 5, lambda: len(found()) > len(deliveries) + 5)
            service.kill()

    torn = 0
    for path in service.store.glob("events-*.jsonl"):
        *whole, last = path.read_bytes().split(b"\n")
        torn += bool(last)
        for line in whole:
            for scope in json.loads(line)["resourceSpans"][0]["scopeSpans"]:
                assert all(plain(span) for span in scope["spans"])
    assert torn == 0  # one write(2) each: it has happened or not
    problems = service.review()["problems"]
    assert not [text for text in problems if "events-" in text]
    everything = b"".join(path.read_bytes() for path in service.store.glob("events-*.jsonl"))
    for user in service.cast.tokens.values():
        assert user.encode() not in everything
    assert b"again" not in everything
