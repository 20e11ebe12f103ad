# SPDX-License-Identifier: Apache-2.0
"""The auditor does not leak: what leaves the process holds no text, token, URL or raw id.

Everything that leaves is searched for what was seeded: each value occurs nowhere by chance.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from websockets.sync.client import connect

from tests.real.receivers import collector, webhook
from tests.real.world import OPENMETRICS, Service, eventually, leaks, review, serve
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Seeds:
    """What must not be found, and in which forms it was looked for."""

    texts: dict[str, str] = field(default_factory=dict)  # name -> value

    def new(self, name: str) -> str:
        value = self.texts[name] = f"{name}-{secrets.token_hex(12)}"
        return value

    def found_in(self, where: str, content: bytes) -> list[str]:
        found = []
        for name, value in self.texts.items():
            raw = value.encode()
            forms = {
                raw,
                quote(value, safe="").encode(),
                base64.b64encode(raw).rstrip(b"=")[:-1],
                raw.hex().encode(),
                # Pieces, as a truncation would leave them.
                *(raw[at : at + 16] for at in range(0, len(raw) - 15, 4)),
            }
            lower = content.lower()
            found += [f"{name} in {where}" for form in forms if form.lower() in lower]
        return sorted(set(found))


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nothing_seeded_leaves(tmp_path: Path, protocol: str) -> None:
    seeds = Seeds()
    # Ids of several shapes: plain, an email, a subject, and one with a space.
    shapes = ("{}", "{}@example.org", "auth0|{}", "O'{} Doe")
    users = [shape.format(seeds.new(f"user{n}")) for n, shape in enumerate(shapes)]
    tokens = [seeds.new(f"token{n}") for n in range(len(users))]
    cast = Cast(dict(zip(tokens, users, strict=True)), seeds.new("hashkey"))
    with (
        collector(tmp_path) as heard,
        webhook() as hook,
        serve(
            tmp_path / "service",
            cast,
            defects="fanout_bug,last_socket",
            settings=heard.environment(protocol),
            config=hook.config,
        ) as service,
    ):
        talk(service, seeds, tokens, users)
        eventually("the webhook has been called", 5, lambda: hook.bodies)
        pages = [service.metrics(accept).text for accept in ("text/plain", OPENMETRICS)]
        service.stop()
        eventually("spans have come", 5, lambda: heard.named("ws_audit.coverage"))
        eventually("log events have come", 5, lambda: heard.logs)

    leaving = {
        "metrics as text": pages[0].encode(),
        "metrics as OpenMetrics": pages[1].encode(),
        "stderr": service.log.read_bytes(),
        "review as text": review(service.store, "text").encode(),
        "review as JSON": review(service.store, "json").encode(),
        "OTLP": b"\n".join(heard.raw),
        "webhook": b"\n".join(hook.bodies),
    }
    leaving |= {f"store {path.name}": path.read_bytes() for path in service.store.rglob("*")}
    # The search is worth something: these places do hold what was seen, and the forms are found.
    document = service.review()
    for incident in leaks(document):
        for pair in incident["pairs"]:
            for where in ("stderr", "review as JSON", "OTLP", "webhook"):
                assert pair["owner"].encode() in leaving[where], where
    assert len(leaks(document)) > 2
    assert {"confirmed", "hygiene"} <= {it["severity"] for it in document["incidents"]}
    assert any(name.startswith("store violations") for name in leaving)
    assert any(name.startswith("store coverage") for name in leaving)
    assert "store pushed.jsonl" in leaving
    assert seeds.found_in("itself", f"x{users[1].upper()}y".encode())

    found = [line for where, content in leaving.items() for line in seeds.found_in(where, content)]
    assert found == []


def talk(service: Service, seeds: Seeds, tokens: list[str], users: list[str]) -> None:
    """Everybody connects and asks; tokens come by query and by header, and every odd input too."""
    secret = seeds.new("secret")
    first = connect(
        f"{service.url}?token={tokens[0]}&session={seeds.new('query')}&user_id={quote(users[3])}",
        proxy=None,
        additional_headers={"X-Trace-Note": seeds.new("header")},
        user_agent_header=seeds.new("agent"),
    )
    others = [
        connect(service.url, proxy=None, additional_headers={"Authorization": f"Bearer {token}"})
        for token in tokens[1:]
    ]
    with first as asking, others[0] as one, others[1] as two, others[2] as three:
        everybody = (asking, one, two, three)
        for each in everybody:
            assert json.loads(each.recv(5))["type"] == "welcome"
        for each in everybody:
            each.send(
                json.dumps(
                    {
                        "type": "user_message",
                        "agent": seeds.new("profile"),
                        "text": f"{secret} of {users[0]}",
                        "user_id": users[2],  # somebody else's: a dissent of the client's
                        "run_id": seeds.new("run"),
                    }
                )
            )
        asking.send(json.dumps({"type": seeds.new("event"), "user_id": seeds.new("impostor")}))
        for each in everybody:
            # The usage of all runs comes last, and to whoever came last.
            last = "usage_summary" if each is three else "agent_completed"
            seen = 0
            while seen < len(everybody):
                seen += json.loads(each.recv(5))["type"] == last
        # What is no JSON ends the connection with a reason of the application's.
        two.send(seeds.new("garbage"))


def test_an_error_of_the_agent_tells_no_payload(tmp_path: Path) -> None:
    """An internal error is told by type and place: its text might quote what it choked on."""
    seeds = Seeds()
    users = [seeds.new("user0"), seeds.new("user1")]
    tokens = [seeds.new("token0"), seeds.new("token1")]
    cast = Cast(dict(zip(tokens, users, strict=True)), seeds.new("hashkey"))
    with serve(tmp_path, cast, app="broken:app", defects="last_socket") as service:
        with connect(f"{service.url}?token={tokens[0]}", proxy=None) as asking:
            assert json.loads(asking.recv(5))["type"] == "welcome"
            asking.send(json.dumps({"type": "user_message", "text": seeds.new("secret")}))
            while json.loads(asking.recv(5))["type"] != "usage_summary":
                pass
        page = service.metrics().text
        errors = service.metrics().by("ws_audit_internal_errors_total", "stage")
        service.stop()
    leaving = {
        "stderr": service.log.read_bytes(),
        "metrics": page.encode(),
        **{path.name: path.read_bytes() for path in service.store.rglob("*")},
    }

    assert errors.keys() == {"hooks", "judge", "sink"}
    for stage in errors:
        assert f"internal error in {stage} (ValueError at broken:" in service.said()
    assert [it for where, content in leaving.items() for it in seeds.found_in(where, content)] == []
