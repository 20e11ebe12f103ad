# SPDX-License-Identifier: Apache-2.0
"""Stage 2: which ways out this process has, decided from settings and environment, and told.

Why it exists: the order of beginning, flushing and ending across metrics, store, spans and
push is one decision. A part that cannot begin is named with its fix, and the rest goes on.

It must never let a missing directory, port or collector reach the application.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry

from ws_audit import __version__, schema
from ws_audit.messages.intents import getrandbits
from ws_audit.model import Span
from ws_audit.principals.identity import Hasher
from ws_audit.verdict import stored

from . import events, export, multiprocess
from .coverage import Coverage, base_ns
from .deliveries import deliveries
from .endpoint import Endpoint
from .export import Export
from .metrics import Metrics, NoMetrics
from .neighbours import Neighbours
from .push import Channel, Push, Webhook
from .recall import Recall
from .spans import SpanMaker
from .store import Store, StoreError, hash_key
from .synthetic import Synthetic
from .violations import Violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.trace import sampling

    from ws_audit.configuration.settings import Settings
    from ws_audit.incidents import Incident
    from ws_audit.runtime import Runtime


class Outputs:
    """All ways out of one process. `notes` are the lines to say once, at the start."""

    def __init__(
        self, runtime: Runtime, *, serving: bool, environ: Mapping[str, str] = os.environ
    ) -> None:
        settings = runtime.settings
        self.notes: list[str] = []
        self.ways: dict[str, str] = {}  # where what goes, for doctor
        self._lasting_key = False  # the key of the hashes outlives this process
        self._dropped = 0  # lines the store had lost at the last flush
        self._store_error = ""  # the last one that was said
        self._said: set[str] = set()  # receivers that were said to be down
        self._environ = environ
        self._waited_in_vain = -self.PATIENCE  # monotonic: when the last words were not taken
        self._runtime = runtime
        self._provider = export.application_provider()
        resource = _resource(self._provider)
        facts = {key: str(value) for key, value in resource.attributes.items()}
        self._store = self._open_store(settings, facts)
        self._hasher = Hasher(self._key(settings))
        self._maker = SpanMaker(
            self._hasher,
            facts.get("service.name", "unknown_service"),
            facts.get("service.version", ""),
        )
        otlp = self._provider is None and export.otlp_wanted(environ)
        self._export = Export(
            self._maker,
            runtime.tally,
            resource,
            self._provider.sampler if self._provider is not None else _sampler(),
            provider=self._provider,
            make_exporter=(lambda: export.span_exporter(environ)) if otlp else None,
            failed=runtime.failed,
        )
        keep = self._export.keep
        self._push = self._pusher(settings, resource, environ)
        self.violations = Violations(
            self._maker,
            self._store,
            runtime.tally,
            log=settings.push_log,
            export=keep,
            push=self._push,
            wake=runtime.drain.wake,
        )
        self._recall = (
            Recall(
                self._store,
                self.violations,
                first=self._recalled,
                failed=runtime.failed,
                say=runtime.say,
            )
            if self._store is not None
            else None
        )
        address = settings.metrics_addr
        self._endpoint = (
            Endpoint(address.host, address.first, address.last) if address is not None else None
        )
        self._serving = serving  # a server has taken the application, here or in the parent
        self.metrics = self._metrics(settings)
        where = self._where(self.notes.append)
        for label in runtime.managers.known:
            self.metrics.manager(label)
        self.synthetic = Synthetic(self.violations, self._store, self.metrics, self._export)
        if settings.selftest_interval_seconds:
            self.metrics.expect_selftest()
        self._coverage = Coverage(runtime.tally, self._store, keep)
        self._neighbours = (
            Neighbours(self._maker, self._store, settings.store_neighbours)
            if self._store is not None
            else None
        )
        self._deliveries = deliveries(runtime, self._maker, self._store)
        self._follow_parents()
        self.stale = False  # forked, and nothing has happened here yet
        self._tell_what_is_active(settings, where, otlp, environ)
        self._begin()
        if self._recall is not None:
            self._recall.begin()

    def all(self) -> list[Any]:
        """What the drain hands records to, in order."""
        outputs: list[Any] = [self.metrics, self._export]
        if self._neighbours is not None:
            outputs.append(self._neighbours)
        if self._deliveries is not None:
            outputs.append(self._deliveries)
        return [*outputs, self._coverage, self]

    def cpu_ns(self) -> dict[str, int]:
        """CPU time by stage, of what does not run on the drain's thread."""
        return {
            "export": self._export.cpu_ns,
            "push": self._push.cpu_ns,
            "recall": self._recall.cpu_ns if self._recall is not None else 0,
            "scrape": self.metrics.scrape_ns,
        }

    def fold(self, record: Any) -> None:
        """Nothing of its own."""

    def tick(self, now_ns: int) -> None:
        """Once a second: what a storm piled up, the disk, and what others wrote to it."""
        self.violations.flush()
        if self._store is not None:
            self._look_after(self._store)
        if self._recall is not None:
            self._recall.tick(now_ns)
        self._tell_of_receivers()
        self._follow_parents()
        if self._provider is None:
            self._provider = self._export.follow()
            if self._provider is not None:
                self._runtime.say("spans go to the tracer provider the application has set now")

    def _recalled(self, unacknowledged: list[Incident]) -> None:
        """What there was at the start has been read, on a thread of its own."""
        self._push.catch_up(unacknowledged)
        number = sum(incident.open for incident in unacknowledged)
        if number:
            directory = self._runtime.settings.trace_dir
            self._runtime.say(
                f"{number} incident{'' if number == 1 else 's'} open: ws-audit review {directory}"
                " tells of it, ws-audit review ack closes it"
            )

    def _look_after(self, store: Store) -> None:
        """Bring the store to the disk; each way in which that fails is said once."""
        if (store.sync() and not store.dropped) or store.last_error == self._store_error:
            return
        self._store_error = store.last_error
        self._runtime.say(
            f"the store cannot keep violations: {store.last_error}; they are counted and told"
            " in the log. Make room there, or set WS_AUDIT_TRACE_DIR to another directory"
        )

    def _tell_of_receivers(self) -> None:
        """Say once of each receiver that it does not take what it is sent, and what to check."""
        if self._export.down and self._provider is None:
            self._tell("spans", "violations wait for it, clean ones are dropped and counted")
        for channel in self._push.down():
            self._tell(channel, "they wait and are offered again")

    def _tell(self, channel: str, meanwhile: str) -> None:
        if channel in self._said:
            return
        self._said.add(channel)
        if channel == "webhook":
            setting, url = "push.webhook", self._runtime.settings.push_webhook
        else:
            setting, url = export.endpoint(
                self._environ, "TRACES" if channel == "spans" else "LOGS"
            )
        # Of a URL only the machine: the rest may be a secret.
        where = urlsplit(url if "//" in url else f"//{url}").netloc.rpartition("@")[2]
        what = "spans" if channel == "spans" else "incidents"
        self._runtime.say(
            f"{where} does not take {what}; {meanwhile}."
            f" Check that it is up and that {setting} is right"
        )

    # -- building ---------------------------------------------------------------------------

    def _open_store(self, settings: Settings, facts: dict[str, str]) -> Store | None:
        if not settings.trace_dir:
            return None
        try:
            return Store(
                settings.trace_dir,
                resource={**facts, "host.name": platform.node()},
                segment_bytes=settings.store_segment_bytes,
                max_bytes=settings.store_max_bytes,
                max_age_days=settings.store_max_age_days,
                events=settings.store_events == "all",
            )
        except StoreError as error:
            self.notes.append(f"no store: {error}")
            return None

    def _key(self, settings: Settings) -> str:
        if settings.hash_key:
            return settings.hash_key
        if self._store is not None:
            try:
                key = hash_key(settings.trace_dir).decode("utf-8")
                self._lasting_key = True
                return key
            except StoreError as error:
                self.notes.append(f"hashes hold for this process only: {error}")
        return secrets.token_hex(32)

    def _metrics(self, settings: Settings) -> Metrics | NoMetrics:
        runtime = self._runtime
        if multiprocess.active() and not os.access(multiprocess.directory(), os.W_OK | os.X_OK):
            self.notes.append(
                f"no metrics: {multiprocess.DIRECTORY}={multiprocess.directory()} is no directory"
                " this process can write to; create it before the server starts"
            )
            return NoMetrics()
        return Metrics(
            CollectorRegistry() if self._endpoint is not None else None,
            runtime.tally,
            runtime.drain.fold,
            runtime.drain.__len__,
            lambda: runtime.installer.states,
            runtime.cpu_seconds,
            self.violations.latest,
            self.violations.open,
            lambda: self._recall.newest() if self._recall is not None else {},
            __version__,
            settings.mode,
            runtime.inventory.figures,
        )

    def _where(self, say: Callable[[str], None]) -> str:
        """Where the metrics are from now on; opens the endpoint, if there is to be one."""
        if isinstance(self.metrics, NoMetrics):
            return "not kept"
        if self._endpoint is None:
            return "in the default registry"
        if not self._serving:
            return "served as soon as a server takes the application"
        try:
            return self._endpoint.open(self.metrics.serving())
        except OSError as error:
            others = "; another worker's page has these, too" if multiprocess.active() else ""
            say(f"metrics are not served: {error.strerror or error}{others}")
            return "not served"

    def serve(self) -> None:
        """A server takes the application, maybe not the first one of this process."""
        if not self._serving:
            self._serving = True
            self._runtime.say(f"metrics {self._where(self._runtime.say)}")

    def _pusher(self, settings: Settings, resource: Resource, environ: Mapping[str, str]) -> Push:
        channels: list[Channel] = []
        self.log_events = "off"
        if settings.push_webhook:
            channels.append(Webhook(settings.push_webhook))
        if export.otlp_wanted(environ, "LOGS"):
            if events.supported():
                channels.append(events.LogEvents(resource, environ))
                self.log_events = "otlp"
            else:
                self.log_events = "none (this OpenTelemetry has no event_name)"
        directory = settings.trace_dir if self._store is not None else ""
        return Push(channels, directory, self._runtime.tally, self._runtime.failed)

    def _tell_what_is_active(
        self,
        settings: Settings,
        where: str,
        otlp: bool,
        environ: Mapping[str, str],
    ) -> None:
        spans = "no OTLP"
        if self._provider is not None:
            spans = "to the application's tracer provider"
        elif otlp:
            spans = f"OTLP/{export.protocol(environ)}"
        store = (
            f"store {settings.trace_dir}{', all events' if self._deliveries is not None else ''}"
            if self._store is not None
            else "no store (a violation does not outlive this process; set WS_AUDIT_TRACE_DIR)"
        )
        keyed = "settings" if settings.hash_key else "process"
        if keyed == "process" and self._store is not None and self._lasting_key:
            keyed = "trace directory"
        self.ways = {
            "store": settings.trace_dir if self._store is not None else "",
            "metrics": where,
            "spans": spans,
            "log_events": self.log_events,
            "hash_key": keyed,
        }
        targets = len(self._runtime.installer)
        hint = "" if targets else " (an installed application? WS_AUDIT_INCLUDE=its.name.*)"
        self.notes.append(
            f"{__version__}: mode {settings.mode}, {targets} manager"
            f" class{'' if targets == 1 else 'es'}{hint}, {store}, metrics {where}, spans {spans},"
            f" log events {self.log_events}"
        )

    def _begin(self) -> None:
        """Say in the store and to the collector that this process audits from now on."""
        settings = self._runtime.settings
        now = time.time_ns()
        span = Span(
            schema.PROCESS_SPAN,
            getrandbits(128) or 1,
            getrandbits(64) or 1,
            0,
            now,
            now,
            {
                "ws_audit.version": __version__,
                "ws_audit.mode": settings.mode,
                "ws_audit.targets": len(self._runtime.installer),
                "process.runtime.version": platform.python_version(),
                "ws_audit.webhook": bool(settings.push_webhook),
                "ws_audit.store.neighbours": settings.store_neighbours,
                "ws_audit.store.events": settings.store_events,
                "ws_audit.limits.payload_bytes": settings.limits_payload_bytes,
                "opentelemetry.version": _otel_version(),
                schema.CLOCK_BASE: base_ns(),
                schema.KEY_ID: self._hasher.id,
                schema.POLICY_TABLES: stored.write_tables(settings.policy, self._hasher),
            },
        )
        if self._store is not None:
            self._store.write_coverage(span)
            self._store.sync()  # opens the segments: a violation needs no new descriptor then
        # In a moment the application may have started up, and set a provider to give it to.
        self._export.keep(span, urgent=False)
        self._coverage.begin(now)

    def _follow_parents(self) -> None:
        """Spans get parents as soon as somebody in this process makes spans at all."""
        if self._provider is None and export.application_provider() is None:
            return
        self._runtime.intents.parent = self._runtime.created.parent = _current_span

    # -- ending ---------------------------------------------------------------------------------

    def flush(self, seconds: float) -> bool:
        """Whether everything recorded so far is on disk, exported and pushed."""
        deadline = time.monotonic() + seconds
        self.violations.flush()
        if self._deliveries is not None:
            self._deliveries.flush()
        self.metrics.collect()
        complete = True
        if self._store is not None:
            dropped = self._store.dropped
            complete = self._store.sync() and dropped == self._dropped
            self._dropped = dropped
        if self._export.active:
            complete &= self._export.flush(max(0.0, deadline - time.monotonic()))
        return self._push.flush(max(0.0, deadline - time.monotonic())) and complete

    LAST_SECONDS = 3.0  # how long a dead collector or webhook may hold up the process's end
    PATIENCE = 30.0

    def _last_lines(self) -> None:
        """The last aggregate and coverage lines; there may be more of them if it goes on."""
        self.violations.flush()
        if self._deliveries is not None:
            self._deliveries.flush()
        self._coverage.write(time.time_ns(), final=True)

    def checkpoint(self) -> None:
        """What can be written without waiting for anybody but the disk."""
        self._last_lines()
        if self._store is not None:
            self._store.sync()

    def last_words(self) -> None:
        """What must be out before the process may end; it may also go on."""
        self._last_lines()
        if not self.flush(self.LAST_SECONDS):
            self._waited_in_vain = time.monotonic()

    def resume(self) -> None:
        """After stop(): spans and incidents leave again (the store opens new segments itself)."""
        self.violations.resume()
        self._export.resume()
        self._push.resume()
        if self._recall is not None:
            self._recall.begin()
        self._where(self._runtime.say)

    def stop(self) -> None:
        """At exit: the last aggregate and coverage lines, then everything is let go."""
        if self._recall is not None:
            self._recall.stop()
        self.violations.end()
        self._last_lines()
        if self._store is not None:
            self._store.close()
        # Whoever did not answer the last words a moment ago is not waited for once more.
        waited = time.monotonic() - self._waited_in_vain < self.PATIENCE
        deadline = time.monotonic() + (0.2 if waited else self.LAST_SECONDS)
        self._export.stop(max(0.0, deadline - time.monotonic()))
        self._push.stop(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Disabled: nobody is to find yesterday's metrics, or a thread of ours."""
        if self._endpoint is not None:
            self._endpoint.close()

    def forget(self) -> None:
        """After a fork; no I/O: what the child needs is begun again when something happens."""
        self.stale = True
        self._dropped = 0
        optional = (self._store, self._neighbours, self._deliveries, self._endpoint, self._recall)
        for part in (
            self._maker,
            self.violations,
            self._coverage,
            self._export,
            self._push,
            self.metrics,
            *(part for part in optional if part is not None),
        ):
            part.forget()

    def renew(self, *, serving: bool = True) -> None:
        """In a forked child, when its first record is on its way: as after the start."""
        if self.stale:
            self.stale = False
            if serving:
                self._where(self._runtime.say)
            self._begin()
            if serving and self._recall is not None:
                self._recall.begin()


def _resource(provider: Any) -> Resource:
    resource = getattr(provider, "resource", None)
    return resource if isinstance(resource, Resource) else Resource.create()


def _sampler() -> sampling.Sampler:
    """The user's sampler: OTEL_TRACES_SAMPLER as the SDK reads it."""
    from opentelemetry.sdk.trace import TracerProvider

    return TracerProvider(shutdown_on_exit=False).sampler


def _current_span() -> tuple[int, int, bool]:
    context = trace.get_current_span().get_span_context()
    return context.trace_id, context.span_id, bool(context.trace_flags.sampled)


def _otel_version() -> str:
    from importlib.metadata import version

    return version("opentelemetry-sdk")
