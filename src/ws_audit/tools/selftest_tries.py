# SPDX-License-Identifier: Apache-2.0
"""Each way out of `ws-audit selftest`, tried: whether the leak arrived, and what to look at if not.

Why it exists: what is known to work is what was read back, or what the receiver has confirmed.

It must never let one way stand in for another, nor show more of a URL than its machine.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ws_audit import schema
from ws_audit.model import NONE, OTHER, Delivery
from ws_audit.outputs import events, export
from ws_audit.outputs.push import Webhook
from ws_audit.outputs.store import KEY_FILE

from .selftest_check import FAILED, NOT_CONFIGURED, OK
from .selftest_ways import Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from .selftest_ways import Ways

PATIENCE: Final = 20.0  # the exporters' own is 10 s
_NO_ENDPOINT: Final = "no OTLP endpoint in this environment"


class Answer(NamedTuple):
    """What became of one way out."""

    state: str
    what: str
    advice: str = ""


def _store(ways: Ways, _: Delivery) -> Answer:
    directory = ways.settings.trace_dir
    if not directory:
        return Answer(
            NOT_CONFIGURED,
            "no trace directory: a violation does not outlive its process",
            "Set WS_AUDIT_TRACE_DIR to a directory the service's user may write.",
        )
    advice = f"Look at the owner, mode and free space of {directory} (tried as uid {os.getuid()})."
    if ways.store is None or ways.fault:
        return Answer(FAILED, ways.fault, advice)
    if ways.unstored:
        return Answer(FAILED, ways.unstored, advice)
    ways.store.close()
    if ways.store.last_error:
        return Answer(FAILED, ways.store.last_error, advice)
    for name in os.listdir(directory):
        ours = name == KEY_FILE or f"-{os.getpid()}-" in name
        if ours and stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) & 0o077:
            return Answer(
                FAILED,
                f"written and read back, but others than its owner may open {name}",
                f"chmod 600 {os.path.join(directory, name)}; users' hashes are personal data, and"
                " the key tells whose they are.",
            )
    return Answer(OK, f"written to {directory} and read back")


def _log_line(ways: Ways, delivery: Delivery) -> Answer:
    if not ways.settings.push_log:
        return Answer(NOT_CONFIGURED, "push.log is false")
    line = _captured(lambda: ways.violations.log_line(ways.incident(delivery)))
    try:
        told = json.loads(line)
    except ValueError:
        told = {}
    if told.get("severity") != "CRITICAL" or not told.get("incident", {}).get("synthetic"):
        return Answer(FAILED, "what was written to stderr is no JSON line of an incident")
    return Answer(
        OK,
        f"one JSON line of {len(line)} bytes, severity CRITICAL (kept from your stderr)",
        "Whether the service's stderr is collected, only its log can show.",
    )


def _captured(act: Callable[[], None]) -> bytes:
    """What is written to file descriptor 2 meanwhile."""
    reading, writing = os.pipe()
    kept = os.dup(2)
    try:
        os.dup2(writing, 2)
        try:
            act()
        finally:
            os.dup2(kept, 2)
        os.set_blocking(reading, False)
        try:
            return os.read(reading, 65_536)
        except BlockingIOError:
            return b""
    finally:
        for descriptor in (reading, writing, kept):
            os.close(descriptor)


def _metrics(ways: Ways, _: Delivery) -> Answer:
    if ways.shared and not os.access(ways.shared, os.W_OK | os.X_OK):
        return Answer(
            FAILED,
            f"PROMETHEUS_MULTIPROC_DIR={ways.shared} is no directory this user can write to",
            "Create it, empty, before the server starts.",
        )
    ways.metrics.expect_selftest()
    ways.metrics.collect()
    ways.metrics.selftest_passed(time.time_ns())
    page = generate_latest(ways.metrics.registry).decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }

    def violations(rule: str, severity: str, manager: str, synthetic: str) -> float | None:
        labels = {"rule": rule, "severity": severity, "manager": manager, "synthetic": synthetic}
        return samples.get(("ws_audit_violations_total", *sorted(labels.items())))

    for rule, severities in schema.PERMITTED.items():
        for severity in severities:
            for manager in (NONE, OTHER):
                if violations(rule, severity, manager, "false") != 0:
                    return Answer(FAILED, f"{rule} {severity} of {manager} does not stand at 0")
    counted = violations("canary", "confirmed", NONE, "true")
    if counted != 1:
        return Answer(FAILED, f"the synthetic violation is counted {counted} times, not once")
    if not samples.get(("ws_audit_selftest_success_timestamp_seconds",)):
        return Answer(FAILED, "the self-test's timestamp is not shown")
    address = ways.settings.metrics_addr
    where = "in the default registry" if address is None else f"at {address.host}:{address.first}"
    if address is not None and address.last != address.first:
        where += f"-{address.last}"
    return Answer(
        OK,
        f"the page has all {len(samples)} series, the synthetic one at 1 and all others at 0",
        f"A service shows its own {where}; no port was opened here.",
    )


def _spans(ways: Ways, delivery: Delivery) -> Answer:
    if not ways.export.active:
        return Answer(
            NOT_CONFIGURED,
            _NO_ENDPOINT,
            "Of an application with a tracer provider of its own only the self-test inside the"
            " agent (selftest.interval_seconds) knows.",
        )
    said = ways.said
    until = time.monotonic() + PATIENCE
    while (taken := ways.synthetic.exported(delivery)) is None and time.monotonic() < until:
        time.sleep(0.01)
    ways.export.stop(0.0)
    said.reason = said.reason or ways.unexported
    return _collected(ways, "TRACES", "the span", said, taken=bool(taken))


def _log_events(ways: Ways, delivery: Delivery) -> Answer:
    if not export.otlp_wanted(ways.environ, "LOGS"):
        return Answer(NOT_CONFIGURED, _NO_ENDPOINT)
    if not events.supported():
        return Answer(NOT_CONFIGURED, "this OpenTelemetry has no event_name (1.35 has)")
    channel = events.LogEvents(ways.resource, ways.environ)
    said = Said()
    said.listen()
    try:
        taken = channel.send(ways.incident(delivery).as_dict(time.time_ns()))
    except OSError:  # that is how old exporters say that nobody is there
        taken = False
    finally:
        said.leave()
    return _collected(ways, "LOGS", "the log event", said, taken=taken)


def _collected(ways: Ways, signal: str, what: str, said: Said, *, taken: bool) -> Answer:
    setting, url = export.endpoint(ways.environ, signal)
    where = _machine(url)
    protocol = export.protocol(ways.environ, signal)
    if taken:
        return Answer(OK, f"{where} has taken {what} (OTLP/{protocol})")
    why = f": {said.reason}" if said.reason else ""
    return Answer(
        FAILED,
        f"{where} has not taken {what} (OTLP/{protocol}){why}",
        f"Check that it is up, speaks OTLP/{protocol} there, and that {setting} and"
        " OTEL_EXPORTER_OTLP_HEADERS are right.",
    )


def _webhook(ways: Ways, delivery: Delivery) -> Answer:
    url = ways.settings.push_webhook
    if not url:
        return Answer(NOT_CONFIGURED, "push.webhook is not set")
    hook = Webhook(url)
    if hook.send(ways.incident(delivery).as_dict(time.time_ns())):
        return Answer(OK, f'{_machine(url)} has taken one incident with "synthetic": true')
    return Answer(
        FAILED,
        f"{_machine(url)} has not taken it: {hook.error}",
        "Check that it is up, answers 2xx without a redirect, and that push.webhook is right.",
    )


def _machine(url: str) -> str:
    """Of a URL only the machine: the rest may be a secret."""
    return urlsplit(url if "//" in url else f"//{url}").netloc.rpartition("@")[2]


WAYS: Final[dict[str, Callable[[Ways, Delivery], Answer]]] = {
    "store": _store,
    "log line": _log_line,
    "metrics": _metrics,
    "spans": _spans,
    "log events": _log_events,
    "webhook": _webhook,
}
