# SPDX-License-Identifier: Apache-2.0
"""The ways out of `ws-audit selftest`: the parts an audited process uses, with its settings.

Why it exists: the played leak goes to the store when it is judged, as a real one would.

It must never begin what an audited process begins on its own: coverage, an endpoint, pushes of
what an earlier process has left.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry

from ws_audit import __version__
from ws_audit.book import Book
from ws_audit.outputs import export
from ws_audit.outputs.metrics import Metrics
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store, StoreError, hash_key
from ws_audit.outputs.synthetic import Synthetic
from ws_audit.outputs.violations import Violations
from ws_audit.principals.identity import Hasher
from ws_audit.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_audit.configuration.settings import Settings
    from ws_audit.incidents import Incident
    from ws_audit.model import Delivery
    from ws_audit.tally import Counts


class Said(logging.Handler):
    """What OpenTelemetry logs of a failure, kept from stderr; of it a status code may be told."""

    _CODE: Final = re.compile(r"StatusCode\.([A-Z_]+)|\b(?:code|status)\D{1,3}(\d{3})\b")

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self._logger = logging.getLogger("opentelemetry")

    def listen(self) -> None:
        """From now on."""
        self._logger.addHandler(self)
        self._propagated, self._logger.propagate = self._logger.propagate, False

    def leave(self) -> None:
        """No longer."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        found = self._CODE.search(record.getMessage())
        if found is not None:
            self.reason = found[1] or f"HTTP {found[2]}"


class Ways:
    """Store, metrics, spans and pushes, built from the settings as an audited process does."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], shared: str) -> None:
        self.settings = settings
        self.environ = environ
        self.shared = shared  # the directory of prometheus_client's multiprocess mode
        self.tally = Tally()
        self.fault = ""  # why the store cannot be used
        self.unexported = ""  # an error in the exporter
        self.said = Said()
        # From before the leak is played, as a quick collector refuses it at once, until the end of
        # this process: the exporter's thread may have more to say when the span is answered for.
        self.said.listen()
        self.resource = Resource.create()
        facts = {key: str(value) for key, value in self.resource.attributes.items()}
        self.store = self._open(facts)
        self.maker = SpanMaker(
            Hasher(self._key()), facts["service.name"], facts.get("service.version", "")
        )
        self.export = export.Export(
            self.maker,
            self.tally,
            self.resource,
            ALWAYS_ON,
            provider=None,
            make_exporter=(
                (lambda: export.span_exporter(environ)) if export.otlp_wanted(environ) else None
            ),
            failed=self._failed,
        )
        self.violations = Violations(
            self.maker,
            self.store,
            self.tally,
            log=settings.push_log,
            export=self.export.keep,
            push=lambda _: None,
            wake=lambda: None,
        )
        self.metrics = Metrics(
            CollectorRegistry(),
            self.tally,
            lambda: None,
            lambda: 0,
            dict,
            dict,
            self.violations.latest,
            self.violations.open,
            dict,
            __version__,
            settings.mode,
        )
        self.synthetic = Synthetic(self.violations, self.store, self.metrics, self.export)
        self.unstored = ""
        self.delivery: Delivery | None = None

    def _open(self, facts: dict[str, str]) -> Store | None:
        if not self.settings.trace_dir:
            return None
        try:
            return Store(
                self.settings.trace_dir, resource={**facts, "host.name": os.uname().nodename}
            )
        except StoreError as error:
            self.fault = str(error)
            return None

    def _key(self) -> str:
        if self.settings.hash_key:
            return self.settings.hash_key
        if self.store is not None:
            try:
                return hash_key(self.settings.trace_dir).decode()
            except StoreError as error:
                self.fault = str(error)
        return secrets.token_hex(32)

    def _failed(self, stage: str, fault: BaseException) -> None:
        self.unexported = f"{type(fault).__name__} in {stage}"

    # -- the sink's ---------------------------------------------------------------------------

    def record(self, delivery: Delivery) -> None:
        """It was judged."""
        self.synthetic.record(delivery._replace(delivery_id=0, connection_id=0))

    def outcome(self, delivery: Delivery) -> None:
        """It has left."""
        self.delivery = delivery._replace(delivery_id=0, connection_id=0)
        self.synthetic.outcome(self.delivery)
        self.unstored = self.synthetic.stored(self.delivery)

    def count(self, counts: Counts) -> None:
        """What the played process has counted as violations are synthetic ones."""
        for key, amount in counts.items():
            if key[0] == "violation":
                self.tally.add(("synthetic", key[1], key[2]), amount)

    # -- the incident it would be ----------------------------------------------------------------

    def incident(self, delivery: Delivery) -> Incident:
        """The violation as incidents are told, in no book but its own, and synthetic."""
        finding = self.maker.finding(delivery)
        return cast("Incident", _Played(Book().add(finding)))


class _Played:
    """An incident that says that it is none."""

    def __init__(self, incident: Incident) -> None:
        self._incident = incident
        self.severity = incident.severity

    def as_dict(self, now_ns: int) -> dict[str, Any]:
        return {**self._incident.as_dict(now_ns), "synthetic": True}
