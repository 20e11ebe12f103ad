# SPDX-License-Identifier: Apache-2.0
"""Every send and every delivery, as spans in segments of their own (`store.events = "all"`).

Why it exists: after a leak somebody asks what else that user, that connection or that request
saw. Who wants to be able to answer keeps everything, and pays for it here, in the drain.

It must never write on the call path, never keep a violation waiting, and never fall behind in
silence: what there is no time or room for is dropped and counted.
"""

from __future__ import annotations

import secrets
import time
from json.encoder import encode_basestring_ascii
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from ws_audit import schema
from ws_audit.messages.intents import send_ids
from ws_audit.model import Call, Delivery
from ws_audit.process.allowance import Allowance

from .spans import connection_of, function_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.model import Evidence
    from ws_audit.runtime import Runtime
    from ws_audit.tally import Tally

    from .spans import SpanMaker
    from .store import Store

BATCH: Final = 64  # spans on one line; a kill in mid-write costs as many
LATEST_NS: Final = 200_000_000  # so long a span waits for others, while there are any
PATIENCE_NS: Final = 2_000_000_000  # and a delivery for its send, which knows the trace
_MOST_HELD: Final = 8_192
_MOST_TRACES: Final = 16_384
_MOST_HEADS: Final = 10_000

# What may wait in the ring before nothing is written here any more. The ring itself is for the
# records of everybody, this is the one output that can do without some.
PRESSURE: Final = 32_768


def deliveries(runtime: Runtime, maker: SpanMaker, store: Store | None) -> Deliveries | None:
    """What writes every event, if that is wanted and there is a store."""
    if store is None or runtime.settings.store_events != "all":
        return None
    allowance = Allowance(runtime.settings.limits_cpu_share, runtime.cpu_seconds)
    waiting = runtime.drain.__len__
    return Deliveries(maker, store, runtime.tally, waiting, allowance, runtime.say)


class Deliveries:
    """Takes sends and deliveries from the drain and writes them to the store, many to a line."""

    def __init__(
        self,
        maker: SpanMaker,
        store: Store,
        tally: Tally,
        waiting: Callable[[], int],
        allowance: Allowance,
        say: Callable[[str], None],
    ) -> None:
        self._encode = Encoder(maker)
        self._store = store
        self._tally = tally
        self._waiting = waiting
        self._allowance = allowance
        self._say = say
        self._told: set[str] = set()  # stages that were said to drop some
        self.forget()

    def forget(self) -> None:
        """After a fork: what waited is the parent's."""
        self._lock = RLock()
        self._batch: list[Call | Delivery] = []
        self._held: list[Delivery] = []  # their send has not ended, so its trace is not known
        self._traces: dict[int, int] = {}  # of sends: the trace they are in, 0 for their own
        self._traced = False  # whether any send was in somebody else's trace
        self._encode.forget()
        self._allowance.forget()

    def fold(self, record: Any) -> None:
        """Take a send or a delivery."""
        kind = type(record)
        if kind is Delivery:
            if record.verdict.rule in schema.EVENT_RULES:
                return  # no message: it stands among the violations
            now = record.time_ns
        elif kind is Call:
            now = record.started_ns + record.duration_ns
        else:
            return
        with self._lock:
            if self._waiting() > PRESSURE or not self._allowance.left:
                self._tally.add(("dropped", "ring"))
                self._tell(
                    "ring",
                    "there are more sends and deliveries than can be written within"
                    " limits.cpu_share; some are dropped",
                )
                return
            batch = self._batch
            batch.append(record)
            first = batch[0]
            since = first.time_ns if type(first) is Delivery else first.started_ns  # type: ignore[union-attr]
            if len(batch) >= BATCH or now - since > LATEST_NS:
                self._write()

    def tick(self, now_ns: int) -> None:
        """Write what waits, and what has waited long enough for its send."""
        with self._lock:
            self._write()
            held, self._held = self._held, []
            self._put(held, now_ns - PATIENCE_NS)
            self._allowance.tick()

    def flush(self) -> None:
        """Write everything."""
        with self._lock:
            self._write()
            held, self._held = self._held, []
            self._put(held, time.time_ns() + PATIENCE_NS)

    def _write(self) -> None:
        batch, self._batch = self._batch, []
        for record in batch:
            if type(record) is Call and (self._traced or record.parent_trace_id):
                self._traced = True
                if len(self._traces) >= _MOST_TRACES:
                    del self._traces[next(iter(self._traces))]
                self._traces[record.intent_id] = record.parent_trace_id
        self._put(batch, 0)

    def _put(self, records: Any, before_ns: int) -> None:
        """Write records. Deliveries from `before_ns` on are held until their trace is known."""
        begun = time.thread_time_ns()
        spans: list[str] = []
        fault: Exception | None = None
        for record in records:
            if type(record) is Call:
                fault = self._take(spans, record, 0) or fault
                continue
            trace_id = record.trace_id
            if not trace_id and self._traced and record.intent_id:
                known = self._traces.get(record.intent_id)
                if known is None and record.time_ns >= before_ns and self._may_hold():
                    self._held.append(record)
                    continue
                trace_id = known or 0
            fault = self._take(spans, record, trace_id) or fault
        for begin in range(0, len(spans), BATCH):
            self._keep(spans[begin : begin + BATCH])
        self._allowance.use(time.thread_time_ns() - begun)
        if fault is not None:
            raise fault  # the drain counts and tells it

    def _take(self, spans: list[str], it: Call | Delivery, trace_id: int) -> Exception | None:
        """Add a span. One that cannot be made takes no other with it, and is counted."""
        try:
            if type(it) is Call:
                spans.append(self._encode.send(it))
            else:
                spans.append(self._encode.delivery(it, trace_id))  # type: ignore[arg-type]
        except Exception as fault:
            self._tally.add(("dropped", "store"))
            return fault
        return None

    def _may_hold(self) -> bool:
        return len(self._held) < _MOST_HELD

    def _keep(self, spans: list[str]) -> None:
        if self._store.write_events(spans):
            return
        self._tally.add(("dropped", "store"), len(spans))
        if not self._store.room:
            self._tell(
                "store",
                f"{self._store.directory} has little room left, which is kept for violations;"
                " sends and deliveries are dropped",
            )

    def _tell(self, stage: str, what: str) -> None:
        if stage not in self._told:
            self._told.add(stage)
            self._say(
                f"store.events: {what} and counted"
                f' (ws_audit_records_dropped_total{{stage="{stage}"}})'
            )


class Encoder:
    """Sends and deliveries as text, put together from pieces that are the same every time.

    It is `SpanMaker` and `Lines` in one, a third as costly, and says of evidence only whom it
    names: there may be ten thousand a second.
    """

    def __init__(self, maker: SpanMaker) -> None:
        self._maker = maker
        self._hash = maker.hash
        self._owners: dict[str, str] = {}  # evidence kind -> what stands before the hash
        self.forget()

    def forget(self) -> None:
        """After a fork: other ids."""
        self._heads: dict[tuple[str, ...], str] = {}
        self._tails: dict[tuple[str, ...], str] = {}
        self._trace = secrets.token_hex(8)
        self._last: tuple[int, int, tuple[str, str]] = (0, 0, ("", ""))

    def delivery(self, it: Delivery, trace_id: int) -> str:
        """A delivery. Its span id is its delivery id: prefix and number in hexadecimal."""
        prefix = self._maker.prefix
        span = f"{prefix}{it.delivery_id & 0xFFFF_FFFF:08x}"
        parent = ""
        if it.intent_id:
            trace, send = self._ids(it.intent_id, trace_id)
            parent = f'"parentSpanId":"{send}",'
        else:
            trace = f"{trace_id:032x}" if trace_id else self._trace + span
        verdict = it.verdict
        key = (it.manager, it.event, it.transport, it.kind, it.outcome, *verdict[:4])
        tail = self._tails.get(key) or self._remember(self._tails, key, self._tail(it))
        own = connection_of(it)
        user = f"{_USER}{self._hash(own.principal)}{_END}" if own is not None else ""
        owners = self._evidence(it.evidence) if len(it.evidence) > (own is not None) else ""
        site = f"{_SITE}{_text(it.site)[1:-1]}{_END}" if it.site else ""
        return (
            f'{{"traceId":"{trace}","spanId":"{span}",{parent}"name":"{schema.DELIVERY_SPAN}",'
            f'"kind":1,"startTimeUnixNano":"{it.time_ns}","endTimeUnixNano":"{it.time_ns}",'
            f'"attributes":[{user}{owners}{site}{_CONNECTION}{prefix}-{it.connection_id}{_END}'
            f'{_BYTES}{it.size}{_END}{tail}],"status":{{}}}}'
        )

    def send(self, it: Call) -> str:
        """A send."""
        trace, span = self._ids(it.intent_id, it.parent_trace_id)
        parent = f'"parentSpanId":"{it.parent_span_id:016x}",' if it.parent_span_id else ""
        key = (it.manager, it.event, it.function, it.site, it.kind, it.outcome)
        tail = self._tails.get(key) or self._remember(self._tails, key, self._send_tail(it))
        head = self._heads.get((it.manager,)) or self._remember(
            self._heads, (it.manager,), self._name(it.manager)
        )
        ended = it.started_ns + it.duration_ns
        return (
            f'{{"traceId":"{trace}","spanId":"{span}",{parent}{head}'
            f'"kind":1,"startTimeUnixNano":"{it.started_ns}","endTimeUnixNano":"{ended}",'
            f'"attributes":[{self._evidence(it.evidence)}'
            f"{_INTENT}{self._maker.prefix}-{it.intent_id}{_END}"
            f"{_DELIVERIES}{it.deliveries}{_END}{tail}"
        )

    def _ids(self, intent_id: int, trace_id: int) -> tuple[str, str]:
        """Trace and span of a send: mostly it and its delivery come one after the other."""
        if self._last[:2] != (intent_id, trace_id):
            trace, span = send_ids(intent_id, trace_id)
            self._last = intent_id, trace_id, (f"{trace:032x}", f"{span:016x}")
        return self._last[2]

    def _evidence(self, evidence: tuple[Evidence, ...]) -> str:
        """Whom each kind of evidence names, save for the connection's own."""
        text, before = "", ""
        for item in evidence:
            kind = item.name
            if kind in ("connection", before):
                continue  # an inner and an outer hook said something of one kind
            before = kind
            head = self._owners.get(kind)
            if head is None:
                head = self._owners[kind] = _head(schema.evidence_attribute(kind, "hash"))
            text += f"{head}{self._hash(item.principal)}{_END}"
        return text

    @staticmethod
    def _tail(it: Delivery) -> str:
        verdict = it.verdict
        told = {
            schema.MANAGER: it.manager,
            schema.EVENT: it.event,
            schema.KIND: it.kind,
            schema.TRANSPORT: it.transport,
            schema.VERDICT: verdict.verdict,
            schema.REASON: verdict.reason,
            schema.RULE: verdict.rule,
            schema.SEVERITY: verdict.severity,
            schema.OUTCOME: it.outcome,
        }
        return _attributes(told)

    @staticmethod
    def _send_tail(it: Call) -> str:
        told = {
            schema.MANAGER: it.manager,
            schema.EVENT: it.event,
            schema.KIND: it.kind,
            schema.SITE: it.site,
            schema.FUNCTION: function_name(it.function),
            schema.OUTCOME: it.outcome,
        }
        status = '{"code":2}' if it.outcome == "error" else "{}"
        return f'{_attributes(told)}],"status":{status}}}'

    @staticmethod
    def _name(manager: str) -> str:
        name = f"{schema.SEND_SPAN} {manager.partition(':')[2] or manager}"
        return f'"name":{_text(name)},'

    @staticmethod
    def _remember(known: dict[tuple[str, ...], str], key: tuple[str, ...], text: str) -> str:
        if len(known) >= _MOST_HEADS:
            known.clear()
        known[key] = text
        return text


def _head(name: str, form: str = "stringValue") -> str:
    return f'{{"key":"{name}","value":{{"{form}":"'


def _attributes(told: dict[str, str]) -> str:
    # A name may have what has no UTF-8 form; see `lines`.
    return ",".join(
        f"{_head(name)[:-1]}{_text(value)}}}}}" for name, value in told.items() if value
    )


def _text(value: str) -> str:
    return encode_basestring_ascii(value.encode("utf-8", "replace").decode())


_END: Final = '"}},'
_USER: Final = _head(schema.USER_HASH)
_SITE: Final = _head(schema.SITE)
_CONNECTION: Final = _head(schema.CONNECTION_ID)
_INTENT: Final = _head(schema.INTENT_ID)
_BYTES: Final = _head(schema.BYTES, "intValue")
_DELIVERIES: Final = _head(schema.DELIVERIES, "intValue")
