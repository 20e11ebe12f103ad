# SPDX-License-Identifier: Apache-2.0
"""Spans and log events through a real collector, and beside an application that traces itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.receivers import Told, collector
from tests.real.world import Pair, carry_out, claimed, drive, eventually, get, leaks, serve, stored
from ws_audit import __version__
from ws_audit.principals.identity import Hasher
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.real.receivers import Collector

USERS, RUNS = 4, 2
CONTRACT = {
    "security_rule.name": "argument_vs_connection",
    "ws_audit.severity": "confirmed",
    "user.hash": str,
    "ws_audit.owner.hash": str,
    "ws_audit.event": str,
    "ws_audit.payload.path": "user_id",
    "code.function.name": str,
    "ws_audit.site": str,
    "ws_audit.intent.id": str,
    "ws_audit.delivery.id": str,
    "ws_audit.connection.id": str,
    "ws_audit.bytes": int,
    "ws_audit.outcome": "ok",
    "ws_audit.evidence.connection.hash": str,
    "ws_audit.evidence.connection.at": "accept",
    "ws_audit.evidence.connection.source": str,
    "ws_audit.evidence.connection.strength": "strong",
    "ws_audit.evidence.argument.hash": str,
    "ws_audit.evidence.argument.at": "call",
    "ws_audit.evidence.argument.source": "send_to_user.user_id",
    "ws_audit.evidence.argument.strength": "strong",
    "ws_audit.evidence.payload.hash": str,
    "ws_audit.evidence.payload.at": "content",
    "ws_audit.evidence.payload.source": "user_id",
    "ws_audit.evidence.payload.strength": "strong",
    "ws_audit.evidence.instance.at": "construct",
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_leak_arrives(tmp_path: Path, heard: Collector, protocol: str) -> None:
    settings = heard.environment(protocol)
    service_name = settings["OTEL_SERVICE_NAME"]
    with serve(tmp_path, Cast.of(USERS), defects="fanout_bug", settings=settings) as service:
        received = drive(service, runs=RUNS, patience=1)
        page = service.metrics()
        service.stop()
        review = service.review()
    assert f"spans OTLP/{protocol[:4]}, log events otlp" in service.said()

    def ours(told: Iterable[Told]) -> list[Told]:
        return [each for each in told if each.resource["service.name"] == service_name]

    def complete() -> bool:
        # The last coverage span is the last thing a process says.
        return any(it.attributes.get("ws_audit.final") for it in ours(heard.named("ws_audit.cov")))

    eventually("the collector has the last coverage span", 5, complete)

    sends = {each.span_id: each for each in ours(heard.named("ws_audit.send"))}
    violations = ours(heard.named("ws_audit.violation"))
    pairs: Counter[Pair] = Counter()
    for violation in violations:
        told = violation.attributes
        pairs[told["ws_audit.owner.hash"], told["user.hash"]] += 1
        assert violation.name == "ws_audit.violation"
        assert violation.error
        for name, expected in CONTRACT.items():
            assert told[name] == expected or type(told[name]) is expected, name
        parent = sends[violation.parent]
        assert parent.trace_id == violation.trace_id
        assert parent.attributes["ws_audit.intent.id"] == told["ws_audit.intent.id"]
    assert pairs == received.pairs() == claimed(review)
    assert len({each.span_id for each in violations}) == len(violations) == len(received.leaked)

    assert len(sends) == USERS * RUNS * 5 == len(ours(heard.named("ws_audit.send")))
    assert {each.name for each in sends.values()} == {
        "ws_audit.send AgentEventEmitter",
        "ws_audit.send OutboxRegistry",
    }
    # The neighbours in the store are the same spans.
    kept = {span["spanId"] for span in stored(service.store) if "send" in span["name"]}
    assert kept
    assert kept <= sends.keys()
    assert len(ours(heard.named("ws_audit.create"))) == page.total(
        "ws_audit_instances_created_total"
    )
    frames = received.result["frames"]
    for name in ("ws_audit.frames", "ws_audit.judged"):
        coverage = ours(heard.named("ws_audit.coverage"))
        assert sum(each.attributes[name] for each in coverage) == frames
    (process,) = ours(heard.named("ws_audit.process"))
    assert process.attributes["ws_audit.version"] == __version__
    assert process.attributes["ws_audit.mode"] == "observe"
    assert process.attributes["ws_audit.hash_key.id"] == Hasher(service.cast.hash_key).id

    events = ours(heard.logs)
    assert {each.name for each in events} == {"ws_audit.isolation.violation"}
    assert {each.severity for each in events} == {"FATAL"}
    ids = {each["id"] for each in leaks(review)}
    assert {each.attributes["ws_audit.incident.id"] for each in events} == ids
    assert {each.attributes["security_rule.name"] for each in events} == {"argument_vs_connection"}
    sites = {site for each in leaks(review) for site in each["sites"]}
    assert {each.attributes["ws_audit.site"] for each in events} <= sites


def test_a_sampler_decides_about_clean_spans_only(tmp_path: Path, heard: Collector) -> None:
    settings = heard.environment("grpc") | {
        "OTEL_SERVICE_NAME": "sampled",
        "OTEL_TRACES_SAMPLER": "always_off",
    }
    with serve(tmp_path, Cast.of(USERS), defects="fanout_bug", settings=settings) as service:
        received = drive(service, runs=RUNS, patience=1)
        service.stop()

    def names() -> Counter[str]:
        return Counter(
            each.name for each in heard.spans if each.resource["service.name"] == "sampled"
        )

    eventually("the coverage is there", 5, lambda: names()["ws_audit.coverage"])
    assert names() == {
        "ws_audit.violation": len(received.leaked),
        "ws_audit.coverage": 1,
        "ws_audit.process": 1,
    }
    assert all(it.parent for it in heard.named("ws_audit.violation"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
    ids=["no endpoint", "none", "console", "disabled"],
)
def test_nothing_is_exported_unless_asked_for(
    tmp_path: Path, heard: Collector, settings: dict[str, str]
) -> None:
    before = len(heard.raw)
    endpoint = heard.environment("grpc") if settings else {}
    with serve(
        tmp_path, Cast.of(USERS), defects="fanout_bug", settings=endpoint | settings
    ) as service:
        received = drive(service, runs=1, patience=1)
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        service.stop()
        review = service.review()
    time.sleep(0.3)

    assert "spans no OTLP, log events off" in service.said()
    assert "cygrpc" not in maps  # not even loaded
    assert len(heard.raw) == before
    assert received.leaked
    assert claimed(review) == received.pairs()


# --- an application with a provider of its own ----------------------------------------------------


def spans_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("when", ["import", "lifespan"])
def test_an_application_that_traces_gets_our_spans(
    tmp_path: Path, heard: Collector, when: str
) -> None:
    before = len(heard.spans)
    file = tmp_path / "spans.jsonl"
    settings = heard.environment("grpc") | {"TRACED_SPANS": str(file), "TRACED_WHEN": when}
    ways = ("direct", "nested", "task", "queue", "plain")
    commands: list[Any] = [[n % 2, {"way": ways[n % 5], "wrong": n % 3 == 0}] for n in range(60)]
    plan = {"connections": 1, "commands": commands, "frames": len(commands)}
    with serve(tmp_path, Cast.of(2), app="traced:app", settings=settings) as service:
        if when == "lifespan":
            # Set after the server took the application: seen at the latest a second later.
            time.sleep(1.2)
        received = carry_out(service, plan)
        provider = json.loads(get(f"http://{HOST}:{service.port}/provider"))
        service.stop()
    spans = spans_of(file)
    handles = {span["id"]: span for span in spans if span["name"] == "handle"}
    sends = {span["id"]: span for span in spans if span["name"].startswith("ws_audit.send")}
    violations = [span for span in spans if span["name"] == "ws_audit.violation"]

    assert provider == {"global": True, "processors": ["Recorder"]}
    assert {span["service"] for span in spans} == {"traced-by-its-team"}
    # Log events are another matter: nobody else here would send them.
    assert len(heard.spans) == before, "an exporter of our own beside the application's"
    assert len(violations) == len(received.leaked) == 20
    assert len(sends) == 48
    for span in sends.values():
        assert span["parent"] in handles
        assert span["trace"] == handles[span["parent"]]["trace"]
    for span in violations:
        # Below its send; a plain one, which no manager sent, below what was current.
        parent = sends.get(span["parent"]) or handles[span["parent"]]
        assert parent["trace"] == span["trace"]
        assert span["error"]
    assert sum(span["parent"] in handles for span in violations) == sum(
        command["way"] == "plain" and command["wrong"] for _, command in commands
    )
    # And never the other way round: the application's own spans are where they were.
    ids = {span["id"] for span in spans if span["name"].startswith("ws_audit")}
    assert not any(
        span["parent"] in ids for span in spans if not span["name"].startswith("ws_audit")
    )


def test_an_application_that_samples_out_still_gets_violations(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    settings = {"TRACED_SPANS": str(file), "TRACED_WHEN": "import", "TRACED_SAMPLER": "off"}
    commands: list[Any] = [[n % 2, {"way": "direct", "wrong": n % 2 == 0}] for n in range(20)]
    plan = {"connections": 1, "commands": commands, "frames": len(commands)}
    with serve(tmp_path, Cast.of(2), app="traced:app", settings=settings) as service:
        carry_out(service, plan)
        service.stop()
    names = Counter(span["name"] for span in spans_of(file))

    assert names == {"ws_audit.violation": 10, "ws_audit.coverage": 1, "ws_audit.process": 1}


# --- a collector that is down -----------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_down_costs_clean_spans_only(tmp_path: Path, protocol: str) -> None:
    settings = {
        # Nobody listens on port 1, and the kernel says so at once.
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    with serve(tmp_path, Cast.of(10), defects="last_socket", settings=settings) as service:
        received = drive(service, runs=RUNS, patience=1)
        dropped = eventually(
            "dropped spans are counted",
            10,
            lambda: service.metrics().by("ws_audit_records_dropped_total", "stage"),
        )
        page = service.metrics()
        service.stop()
        review = service.review()
    print(f"dropped {dropped}, stopped after {service.ended:.2f} s")

    assert received.result["errors"] == []
    assert received.result["frames"] == page.balanced()
    assert received.leaked
    assert claimed(review) == received.pairs()
    assert dropped.keys() == {"export"}
    assert page.by("ws_audit_internal_errors_total", "stage") == {}
    assert service.ended < 6


def test_a_dead_collector_and_webhook_do_not_keep_a_process_that_ends_by_itself(
    tmp_path: Path,
) -> None:
    """No signal, so `atexit` runs after the server's end: both together stay within bounds."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    config = f'[push]\nwebhook = "http://{HOST}:1/"\n'
    with serve(
        tmp_path,
        Cast.of(2),
        app="selfstop.py",
        defects="fanout_bug",
        settings=settings,
        config=config,
    ) as service:
        received = drive(service, runs=1, patience=0.5)
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='POST'))",
                f"http://{HOST}:{service.port}/stop",
            ],
            check=True,
            timeout=10,
        )
        begun = time.monotonic()
        code = service.process.wait(30)
        took = time.monotonic() - begun
        review = service.review()
    print(f"ended after {took:.2f} s")

    assert code == 0
    assert claimed(review) == received.pairs() != {}
    assert not any("last coverage" in problem for problem in review["problems"])
    assert took < 6
