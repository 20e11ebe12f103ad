# SPDX-License-Identifier: Apache-2.0
"""With the agent and without it, a real client gets the same bytes."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.live import HOST, Answer, Server, free_ports, http, server, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Path and what the client does there; (messages, close code) it gets, to see that they are real.
WEBSOCKETS: dict[str, tuple[dict[str, Any], int, int | None]] = {
    "/text": ({}, 6, 1000),
    "/bytes": ({}, 5, 1000),
    "/json": ({}, 12, 1000),
    "/large": ({}, 3, 1000),
    "/many": ({}, 500, 1000),
    "/echo": (
        {"sends": ["a", "", "ä" * 1000, b"\x00\xff", b"", '{"user_id": 1}'], "leave": True},
        6,
        1000,
    ),
    "/split": ({}, 6, 1000),
    "/close/1000": ({}, 1, 1000),
    "/close/1001?reason=going": ({}, 1, 1001),
    "/close/1011": ({}, 1, 1011),
    "/close/3000?reason=%C3%A4": ({}, 1, 3000),
    "/close/4999": ({}, 1, 4999),
    "/refuse": ({}, 0, 1006),
    "/deny": ({}, 0, 1006),
    "/nowhere": ({}, 0, 1006),
    "/close/no-number": ({}, 0, 1006),
    "/raise/before": ({}, 0, 1006),
    "/raise/after": ({}, 1, 1006),
    "/raise/manager": ({}, 2, 1000),
    "/subprotocol": ({"subprotocols": ["chat.v1", "chat.v2"]}, 1, 1000),
    "/managed/alice": ({}, 12, 4000),
    "/managed/z%C3%B6e%2F1": ({}, 0, 1006),
    "/scope/thing?a=1&user_id=eve": ({}, 2, 1000),
    "/dependency?as=alice": ({}, 1, 1000),
}
HTTP = [
    ("GET", "/health", b""),
    ("POST", "/post", b"some body \x00\xff" * 1000),
    ("POST", "/post", b""),
    ("GET", "/stream", b""),
    ("GET", "/raise", b""),
    ("GET", "/nowhere", b""),
    ("DELETE", "/health", b""),
    ("GET", "/openapi.json", b""),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """The same application without an agent, with one, and with one that keeps everything."""
    folder = tmp_path_factory.mktemp("servers")
    (metrics,) = free_ports(1)
    on = {"WS_AUDIT_ENABLED": "1", "WS_AUDIT_INCLUDE": "shapes"}
    ways: dict[str, Any] = {
        "off": {},
        "on": on,
        "store": {
            **on,
            "WS_AUDIT_TRACE_DIR": str(folder / "trace"),
            "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics}",
        },
        "named off": {**on, "WS_AUDIT_ENABLED": "0"},
    }
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        contexts = {way: server(folder / way, **settings) for way, settings in ways.items()}
        started = {way: pool.submit(context.__enter__) for way, context in contexts.items()}
        for context in contexts.values():
            stack.push(context.__exit__)
        found = {way: future.result() for way, future in started.items()}
        found["store"].metrics = metrics  # type: ignore[attr-defined]
        found["store"].trace = folder / "trace"  # type: ignore[attr-defined]
        yield found


@pytest.mark.parametrize("target", WEBSOCKETS)
def test_a_connection_is_the_same_to_the_byte(servers: dict[str, Server], target: str) -> None:
    options, messages, code = WEBSOCKETS[target]
    answers: dict[str, Answer] = {
        way: websocket(one.port, target, **options) for way, one in servers.items()
    }
    off = answers.pop("off")
    assert len(off.messages) == messages
    assert off.code == code
    for way, answer in answers.items():
        # Compared part by part, because a difference in two megabytes is no help.
        assert answer.handshake == off.handshake, way
        assert (answer.code, answer.reason) == (off.code, off.reason), way
        assert [len(data) for _, data in answer.messages] == [len(data) for _, data in off.messages]
        assert answer.frames == off.frames, way


@pytest.mark.parametrize(
    ("method", "target", "body"), HTTP, ids=[f"{a}{b}{len(c)}" for a, b, c in HTTP]
)
def test_routes_beside_are_the_same_to_the_byte(
    servers: dict[str, Server], method: str, target: str, body: bytes
) -> None:
    answers = {way: http(one.port, method, target, body) for way, one in servers.items()}
    off = answers.pop("off")
    assert off.startswith(b"HTTP/1.1 ")
    assert set(answers.values()) == {off}


def test_a_hundred_at_once_get_what_they_would_alone(servers: dict[str, Server]) -> None:
    target = "/many"
    alone = websocket(servers["off"].port, target)
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: websocket(servers["store"].port, target), range(100)))
    assert all(answer.frames == alone.frames for answer in answers)


def test_the_agents_were_there(servers: dict[str, Server]) -> None:
    """Else all of the above compares nothing. Runs last, so that there is something to count."""
    assert servers["off"].ours() == servers["named off"].ours() == []
    for way in ("on", "store"):
        (line,) = servers[way].ours()
        assert "3 manager classes" in line
    page = http(servers["store"].metrics, "GET", "/metrics").decode()  # type: ignore[attr-defined]
    samples = dict(
        line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#")
    )

    def total(name: str) -> float:
        return sum(float(value) for key, value in samples.items() if key.startswith(name))

    frames = total("ws_audit_frames_total")
    assert frames >= 50_000 + 500
    assert total("ws_audit_verdicts_total") == frames
    assert total("ws_audit_internal_errors_total") == 0
    assert total("ws_audit_records_dropped_total") == 0
    assert total("ws_audit_violations_total") >= 1  # "someone else" on alice's connection
    trace: Path = servers["store"].trace  # type: ignore[attr-defined]
    assert list(trace.glob("violations-*.jsonl"))
