# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics: the tally and the records, folded into real prometheus_client children.

Why it exists: the alert rules and dashboards of this field read Prometheus. A scrape folds
first, so what it shows is never older than the scrape.

It must never let a label grow with users, connections or time, and every permitted
violation series stands at 0 before the first violation. A forked child begins at 0, with
metrics of its own: the parent's hold the parent's counts, and locks that nobody may open.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from ws_audit import schema
from ws_audit.model import NONE, OTHER, VIOLATION, Call
from ws_audit.process.forks import Undivided

from . import multiprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.metrics_core import Metric

    from ws_audit.inventory.inventory import Figures
    from ws_audit.tally import Counts, Tally

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.0, 5.0)


class Metrics:
    """The contract's metrics in one registry."""

    def __init__(
        self,
        registry: CollectorRegistry | None,
        tally: Tally,
        fold_records: Callable[[], None],
        backlog: Callable[[], int],
        targets: Callable[[], dict[str, int]],
        cpu_seconds: Callable[[], dict[str, float]],
        latest: Callable[[tuple[str, str, str]], tuple[str, int]],
        open_incidents: Callable[[], int],
        recalled: Callable[[], dict[tuple[str, str], int]],
        version: str,
        mode: str,
        inventory: Callable[[], Figures | None] = lambda: None,
    ) -> None:
        self.registry = registry or REGISTRY
        self._tally = tally
        self._fold_records = fold_records
        self._backlog, self._targets, self._cpu = backlog, targets, cpu_seconds
        self._latest = latest
        self._open_incidents, self._recalled = open_incidents, recalled
        self._inventory = inventory
        self._info = {"version": version, "mode": mode, "python": platform.python_version()}
        self._multiprocess = multiprocess.active()
        self._undertaker = multiprocess.Undertaker(multiprocess.directory())
        self._lock = Undivided()
        self._forked = self._stale = False  # stale: the metrics are still the parent's
        self._selftests = False
        self._begin({NONE, OTHER})
        self._collector = _Collector(self)
        self.registry.register(self._collector)

    def _begin(self, managers: set[str]) -> None:
        """Everything at 0, in objects and locks that nobody else has."""
        self.own = CollectorRegistry()
        self._seen: Counts = {}
        self._cpu_seen: dict[str, float] = {}
        self.scrape_ns = 0  # CPU time of folding for scrapes, on the scraper's thread
        self._newest: dict[tuple[str, str], int] = {}  # of all managers
        self._managers: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()  # (manager, event) that have a series
        self._made: set[tuple[str, str]] = set()  # (factory, product)
        self._declare()
        for manager in managers:
            self.manager(manager)
        if self._selftests:
            self._declare_selftest()

    def _declare(self) -> None:
        counter, gauge = self._counter, self._gauge
        self._created = counter(
            "ws_audit_instances_created", "Manager instances created.", ("manager",)
        )
        self._alive = gauge(
            "ws_audit_instances_alive", "Manager instances alive.", ("manager",), "livesum"
        )
        self._connections = gauge(
            "ws_audit_connections_alive", "Client connections open.", ("transport",), "livesum"
        )
        self._sent = counter(
            "ws_audit_events_sent", "Intents, once settled.", ("manager", "event", "outcome")
        )
        self._duration = Histogram(
            "ws_audit_send_duration_seconds",
            "Time a manager's outermost send took.",
            ("manager",),
            buckets=_BUCKETS,
            registry=self.own,
        )
        self._verdicts = counter(
            "ws_audit_verdicts", "Deliveries by verdict.", ("manager", "verdict")
        )
        self._unattributed = counter(
            "ws_audit_unattributed", "Deliveries nobody could judge, by reason.", ("reason",)
        )
        self._violations = counter(
            "ws_audit_violations",
            "Disagreements about whose data went to whom.",
            ("rule", "severity", "manager", "synthetic"),
        )
        self._last = gauge(
            "ws_audit_last_violation_timestamp_seconds",
            "When the last violation happened; 0 if none did.",
            ("rule", "severity", "synthetic"),
            "max",
        )
        self._open = gauge(
            "ws_audit_open_incidents",
            "Confirmed and probable incidents that nobody has acknowledged.",
            (),
            "livemax",
        )
        self._excused = counter("ws_audit_excused", "Deliveries a policy excused.", ("policy",))
        self._products = counter(
            "ws_audit_factory_products",
            "What functions that hand out managers returned.",
            ("factory", "product"),
        )
        self._implementations = gauge(
            "ws_audit_implementations",
            "Distinct implementations in use by duty.",
            ("duty",),
            "livemax",
        )
        self._implementation_info = gauge(
            "ws_audit_implementation_info",
            "A manager class and the fingerprint of its code.",
            ("manager", "module", "fingerprint"),
            "livemax",
        )
        self._import_paths = gauge(
            "ws_audit_import_paths",
            "Names by which a manager class can be imported.",
            ("manager",),
            "livemax",
        )
        self._frames = counter(
            "ws_audit_frames", "Deliveries, as the sink counted them.", ("transport", "judged")
        )
        self._targets_gauge = gauge(
            "ws_audit_targets", "Hook targets by state.", ("state",), "livemax"
        )
        self._backlog_gauge = gauge(
            "ws_audit_backlog_records", "Records waiting to be folded.", (), "livesum"
        )
        self._cpu_counter = counter(
            "ws_audit_agent_cpu_seconds", "CPU time of the agent.", ("stage",)
        )
        self._heartbeat = gauge(
            "ws_audit_heartbeat_timestamp_seconds",
            "Last completed fold of the worker.",
            (),
            "livemin",
        )
        self._selftest = gauge(
            "ws_audit_selftest_success_timestamp_seconds",
            "When the self-test last succeeded; 0 if it never did.",
            (),
            "max",
        )
        self._dropped = counter(
            "ws_audit_records_dropped", "Records dropped, by stage.", ("stage",)
        )
        self._errors = counter(
            "ws_audit_internal_errors", "Errors of the agent itself.", ("stage",)
        )
        for transport in schema.TRANSPORTS:
            self._connections.labels(transport).set(0)
            for judged in ("true", "false"):
                self._frames.labels(transport, judged)
        for reason in schema.REASONS:
            self._unattributed.labels(reason)
        for policy in schema.POLICIES:
            self._excused.labels(policy)
        for stage in schema.DROP_STAGES:
            self._dropped.labels(stage)
        for stage in ("hooks", "sink", "judge", "violation", "drain", "breaker"):
            self._errors.labels(stage)
        for stage in ("drain", "hooks"):
            self._cpu_counter.labels(stage)
        for rule, severities in schema.PERMITTED.items():
            for severity in severities:
                self._last.labels(rule, severity, "false").set(0)
        self._build = gauge(
            "ws_audit_build_info", "The agent in this process.", tuple(self._info), "livemax"
        )
        self._build.labels(**self._info).set(1)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.own)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], mode: str) -> Gauge:
        return Gauge(
            name,
            text,
            labels,
            registry=self.own,
            multiprocess_mode=mode,  # type: ignore[arg-type]
        )

    def manager(self, manager: str) -> None:
        """Expose every series of a manager at 0, before anything happened."""
        with self._lock:
            self._renew()
            if manager in self._managers:
                return
            self._managers.add(manager)
            for rule, severities in schema.PERMITTED.items():
                for severity in severities:
                    self._violations.labels(rule, severity, manager, "false")
            for verdict in schema.VERDICTS:
                self._verdicts.labels(manager, verdict)
            if manager != NONE:
                self._created.labels(manager)
                self._alive.labels(manager).set(0)
                self._duration.labels(manager)

    # -- output -----------------------------------------------------------------------------

    def fold(self, record: Any) -> None:
        """One record: how long a send took."""
        if type(record) is Call:
            with self._lock:
                self.manager(record.manager)
                self._duration.labels(record.manager).observe(record.duration_ns / 1e9)

    def tick(self, now_ns: int) -> None:
        """The worker's periodic fold; only this one is a heartbeat."""
        with self._lock:
            self.collect()
            self._heartbeat.set(now_ns / 1e9)
        if self._multiprocess:
            self._undertaker.tick()

    def collect(self) -> None:
        """Bring every series up to date with the tally."""
        with self._lock:
            self._renew()
            total = self._tally.total()
            for key, amount in total.items():
                delta = amount - self._seen.get(key, 0)
                if delta:
                    self._count(key, delta, total)
            self._seen = total
            for state, number in self._targets().items():
                self._targets_gauge.labels(state).set(number)
            self._backlog_gauge.set(self._backlog())
            self._open.set(self._open_incidents())
            self._stock_take()
            self._recall(time.time_ns())
            for stage, seconds in self._cpu().items():
                more = max(0.0, seconds - self._cpu_seen.get(stage, 0.0))
                self._cpu_counter.labels(stage).inc(more)
                self._cpu_seen[stage] = seconds

    def _count(  # noqa: C901  (one branch for each sort of count)
        self, key: tuple[str, ...], delta: int, total: Counts
    ) -> None:
        what = key[0]
        if what == "delivery":
            _, transport, manager, verdict, reason = key
            self.manager(manager)
            judged = "false" if verdict == "unattributed" else "true"
            self._frames.labels(transport, judged).inc(delta)
            self._verdicts.labels(manager, verdict).inc(delta)
            if verdict == "unattributed":
                self._unattributed.labels(reason).inc(delta)
            elif verdict == "excused":
                self._excused.labels(reason).inc(delta)
        elif what == VIOLATION:
            self._violation(key[1], key[2], key[3], delta)
        elif what == "synthetic":
            self._violations.labels(key[1], key[2], NONE, "true").inc(delta)
            self._last.labels(key[1], key[2], "true").set_to_current_time()
        elif what == "sent":
            _, manager, event, outcome = key
            self._sent.labels(manager, _bounded(self._pairs, manager, event), outcome).inc(delta)
        elif what == "created":
            self.manager(key[1])
            self._created.labels(key[1]).inc(delta)
        elif what in ("followed", "gone"):
            self._alive.labels(key[1]).set(amount_of(total, "followed", key[1], "gone"))
        elif what in ("opened", "closed"):
            self._connections.labels(key[1]).set(amount_of(total, "opened", key[1], "closed"))
        elif what == "product":
            _, factory, product, _ = key
            self._products.labels(factory, _bounded(self._made, factory, product)).inc(delta)
        elif what == "dropped":
            self._dropped.labels(key[1]).inc(delta)
        elif what == "error":
            self._errors.labels(key[1]).inc(delta)

    def _stock_take(self) -> None:
        """What there is of implementations. A class keeps its fingerprint for as long as it is."""
        found = self._inventory()
        if found is None:
            return
        for duty, number in found.duties.items():
            self._implementations.labels(duty).set(number)
        for info in found.infos:
            self._implementation_info.labels(*info).set(1)
        for manager, number in found.paths.items():
            self._import_paths.labels(manager).set(number)

    def _violation(self, rule: str, severity: str, manager: str, delta: int) -> None:
        self.manager(manager)
        child = self._violations.labels(rule, severity, manager, "false")
        trace_id, time_ns = self._latest((rule, severity, manager))
        if trace_id and not self._multiprocess:
            child.inc(delta, exemplar={"trace_id": trace_id})
        else:
            child.inc(delta)
        self._happened(rule, severity, time_ns)

    def _happened(self, rule: str, severity: str, time_ns: int) -> None:
        if time_ns > self._newest.get((rule, severity), 0):
            self._newest[rule, severity] = time_ns
            self._last.labels(rule, severity, "false").set(time_ns / 1e9)

    def _recall(self, now_ns: int) -> None:
        """When others found something: this process before it was restarted, or its siblings."""
        for (rule, severity), time_ns in self._recalled().items():
            # A line may be damaged, or its clock ahead of ours: no series, no future of its own.
            if severity in schema.PERMITTED.get(rule, ()) and time_ns <= now_ns:
                self._happened(rule, severity, time_ns)

    # -- the self-test ----------------------------------------------------------------------

    def expect_selftest(self) -> None:
        """Expose the self-test's series at 0: there will be one."""
        with self._lock:
            self._renew()
            self._selftests = True
            self._declare_selftest()

    def _declare_selftest(self) -> None:
        self._violations.labels("canary", "confirmed", NONE, "true")
        self._last.labels("canary", "confirmed", "true").set(0)
        self._errors.labels("selftest")

    def synthetic(self) -> float | None:
        """The self-test's violations as the page shows them."""
        with self._lock:
            self._renew()
            return float(self._violations.labels("canary", "confirmed", NONE, "true")._value.get())

    def selftest_passed(self, now_ns: int) -> None:
        """The self-test has succeeded."""
        with self._lock:
            self._renew()
            self._selftest.set(now_ns / 1e9)

    # -- the page ---------------------------------------------------------------------------

    def scrape(self) -> Iterable[Metric]:
        """A scrape wants to see everything that has happened."""
        begun = time.thread_time_ns()
        self._fold_records()
        self.collect()
        self.scrape_ns += time.thread_time_ns() - begun
        return self.own.collect()

    def serving(self) -> CollectorRegistry:
        """A registry for our own endpoint: in a child a new one, the parent's may be locked."""
        if self._multiprocess:
            return multiprocess.page(_UpToDate(self))
        if self._forked:
            self.registry = CollectorRegistry()
            self.registry.register(self._collector)
        return self.registry

    def forget(self) -> None:
        """After a fork: count from the child's own beginning."""
        self._forked = self._stale = True

    def _renew(self) -> None:
        """In a child, at the first need. In multiprocess mode prometheus_client does it itself."""
        if self._stale:
            self._stale = False
            if self._multiprocess:
                self._seen, self._cpu_seen = {}, {}
                self._build.labels(**self._info).set(1)
            else:
                self._begin(self._managers)


def amount_of(total: Counts, up: str, label: str, down: str) -> int:
    """A gauge from two counters: how many came minus how many went."""
    return total.get((up, label), 0) - total.get((down, label), 0)


def _bounded(pairs: set[tuple[str, str]], label: str, value: str) -> str:
    """The value for this label, or `other` when there are as many pairs as there may be."""
    if (label, value) not in pairs:
        if len(pairs) >= schema.MAX_PAIRS and value != OTHER:
            return OTHER
        pairs.add((label, value))
    return value


class NoMetrics:
    """In their place if they cannot be kept: the other ways out go on."""

    scrape_ns = 0

    def manager(self, manager: str) -> None:
        """Nothing."""

    def fold(self, record: Any) -> None:
        """Nothing."""

    def tick(self, now_ns: int) -> None:
        """Nothing."""

    def collect(self) -> None:
        """Nothing."""

    def expect_selftest(self) -> None:
        """Nothing."""

    def synthetic(self) -> float | None:
        """Nothing is counted."""
        return None

    def selftest_passed(self, now_ns: int) -> None:
        """Nothing."""

    def forget(self) -> None:
        """Nothing."""


class _UpToDate(Collector):
    """No metrics of its own: its turn is first, and what this process counts is in its files."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        self._metrics.scrape()
        return ()


class _Collector:
    """All of them behind one registration, which outlives the metrics it stands for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return self._metrics.own.collect()  # only names and types are looked at

    def collect(self) -> Iterable[Metric]:
        return self._metrics.scrape()
