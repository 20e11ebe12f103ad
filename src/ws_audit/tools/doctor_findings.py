# SPDX-License-Identifier: Apache-2.0
"""What the facts of some processes mean: findings in order of importance, each with its fix.

Why it exists: "0 violations" is an answer only if the agent was there, saw the messages and
could judge them. Each way in which that may not be so is one finding.

It must never soften one: a problem makes the exit code 1, a note does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.model import MATCH, UNATTRIBUTED
from ws_audit.review.telling.report import MEANING

from .doctor_advice import Config, advise

if TYPE_CHECKING:
    from collections.abc import Callable

PROBLEM, NOTE = "problem", "note"
DECLARED: Final = "declared"  # where errors of functions that the settings name are counted
BREAKER: Final = "circuit breaker"  # what `off` begins with if it was that
SHARE, ENOUGH = 0.01, 10  # unjudged traffic is a problem from here on, as in the alert rules
TOP: Final = 10
_SHOWN: Final = 5


class Finding(NamedTuple):
    """One thing to know, what it means, and what to do. `id` is stable."""

    level: str
    id: str
    title: str
    text: str
    fix: str = ""


def examine(document: dict[str, Any]) -> list[Finding]:
    """The findings of one process, the most important first."""
    found = [check(document) for check in _CHECKS]
    kept = [one for one in found if one is not None]
    return sorted(kept, key=lambda one: one.level != PROBLEM)


def unjudged(documents: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The commonest kinds over all processes, each with its advice; and all lines in one block."""
    rows: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any]]] = {}
    for document in documents:
        for row in document["unjudged"]:
            key = tuple(row[name] for name in ("site", "event", "reason", "manager", "method"))
            if key in rows:
                rows[key] = (_added(rows[key][0], row), rows[key][1])
            else:
                rows[key] = (row, document)
    common = sorted(rows.values(), key=lambda one: -one[0]["count"])[:TOP]
    config = Config(documents)
    told = []
    for row, document in common:
        advice = advise(row, document, config)
        config.add(advice.settings)
        told.append(
            {
                **row,
                "meaning": MEANING.get(row["reason"], row["reason"]),
                "advice": advice.text,
                "toml": config.alone(advice.settings) if advice.settings else "",
                "code": advice.code,
            }
        )
    return told, config.toml()


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The same kind in two processes."""
    places: dict[tuple[str, str], dict[str, Any]] = {}
    for place in (*one["places"], *other["places"]):
        key = (place["sort"], place["path"])
        known = places.get(key, {"seen": 0, "agreed": 0})
        places[key] = {
            **place,
            "seen": place["seen"] + known["seen"],
            "agreed": place["agreed"] + known["agreed"],
        }
    return {
        **one,
        "count": one["count"] + other["count"],
        "looked_at": one["looked_at"] + other["looked_at"],
        "estimated": one["estimated"] or other["estimated"],
        "places": list(places.values()),
        "pairs": [list(pair) for pair in {tuple(p) for p in (*one["pairs"], *other["pairs"])}],
    }


def traffic(document: dict[str, Any]) -> tuple[int, int]:
    """(deliveries, of them not judged)"""
    verdicts = document["verdicts"]
    return sum(verdicts.values()), verdicts.get(UNATTRIBUTED, 0)


# --- the checks, in order of importance ----------------------------------------------------------


def _off(document: dict[str, Any]) -> Finding | None:
    if not document["off"]:
        return None
    why, fix = document["off"], ""
    if why.startswith(BREAKER):
        why = f"The {why}"
        fix = "limits.cpu_share = 0.1  # if that much is fine with you; 1: no breaker"
    elif why == "control file":
        path = _setting(document, "control_file")
        fix = f"echo on > {path}"
        why = f"The control file {path} says off"
    return Finding(PROBLEM, "switched_off", "The agent is switched off", f"{why}.", fix)


def _blind(document: dict[str, Any]) -> Finding | None:
    if document["import_hook"] is not False:
        return None
    return Finding(
        PROBLEM,
        "import_hook",
        "Modules are imported past the agent",
        "Its import hook does not fire: something in this process imports by other ways. Classes"
        " imported before the server takes the application are still found then; those"
        " imported later are missed.",
        "look for other import hooks (sys.meta_path) that are installed at the front, and load"
        " them before the agent: ws_audit.enable() after them",
    )


def _not_serving(document: dict[str, Any]) -> Finding | None:
    if document["applications"] or document["off"]:
        return None
    return Finding(
        PROBLEM,
        "not_serving",
        "No server has taken an application",
        "So no message of this process was seen, and none was judged. Under a server that"
        " docs/limitations.md does not list as supported it stays so.",
        "ws-audit doctor -- uvicorn yourapp:app",
    )


def _transports(document: dict[str, Any]) -> Finding | None:
    failed = [one["module"] for one in document["transports"] if not one["hooked"]]
    if not failed:
        return None
    return Finding(
        PROBLEM,
        "transport_failed",
        f"Not hooked: {', '.join(failed)}",
        "The internals of this framework have moved; what passes there is not seen.",
        "use a version of it that this version of ws-audit was tested with, and report it",
    )


def _classes(document: dict[str, Any]) -> Finding | None:
    if document["classes_total"] or document["off"]:
        return None
    near = list(document["refused"].items())
    text = "Messages are still seen where they leave, but who they were meant for is not."
    if near:
        name, why = near[0]
        text += f" The nearest miss is {name}: {why}."
        return Finding(PROBLEM, "no_classes", "No manager class was found", text, _table(name))
    return Finding(
        PROBLEM,
        "no_classes",
        "No manager class was found",
        f"{text} If the application is installed as a package, name it.",
        "export WS_AUDIT_INCLUDE='yourapp.*'",
    )


def _table(name: str) -> str:
    return f'[[manager]]\nclass = "{name}"\nsend = ["name_of_its_method_that_sends"]'


def _errors(document: dict[str, Any]) -> Finding | None:
    errors = {
        stage: number
        for stage, number in document["errors"].items()
        if not stage.startswith("transport ") and stage not in (DECLARED, "selftest")
    }
    if not errors:
        return None
    return Finding(
        PROBLEM,
        "internal_errors",
        f"The agent itself failed: {_counts(errors)}",
        "The application is unaffected, but what it failed on was not, or not fully, judged.",
        "report it with the lines on stderr that begin with 'ws-audit: internal error'",
    )


def _selftest(document: dict[str, Any]) -> Finding | None:
    if not document["selftest"]:
        return None
    return Finding(
        PROBLEM,
        "selftest_failed",
        f"The agent's own self-test fails at: {document['selftest']}",
        "It plays a leak that is nobody's and looks for it in the store, the metrics and the spans."
        " Until it passes, no violation does not mean that nothing is wrong.",
        "ws-audit selftest",
    )


def _declared(document: dict[str, Any]) -> Finding | None:
    failed = document["errors"].get(DECLARED)
    if not failed:
        return None
    return Finding(
        PROBLEM,
        "declared_failed",
        f"A function that the settings name has failed {failed:,} times",
        "It raised, or answered something that is no list, tuple, set or dict of users. The"
        " application is unaffected; what depends on the answer is not excused.",
        "look for its name among the lines on stderr that begin with 'ws-audit:'",
    )


def _dropped(document: dict[str, Any]) -> Finding | None:
    if not document["dropped"]:
        return None
    return Finding(
        PROBLEM,
        "dropped",
        f"Records were dropped: {_counts(document['dropped'])}",
        "Counts stay exact and violations are written before anything can be dropped (but for"
        " 'store': those lines are lost); spans and details are missing.",
        "make room where the stage writes to: the disk for store, the collector for otlp",
    )


def _method_failed(document: dict[str, Any]) -> Finding | None:
    failed = [
        f"{told['class']}.{method['name']}"
        for told in document["classes"]
        for method in told["methods"]
        if not method["hooked"]
    ]
    if not failed:
        return None
    return Finding(
        PROBLEM,
        "method_not_hooked",
        f"Not hooked: {_list(failed)}",
        "Something has put another function there since, or the class forbids it. What is sent"
        " that way is judged by its message alone.",
        "leave the methods of these classes as they are defined, or replace them before the"
        " server starts",
    )


def _too_late(document: dict[str, Any]) -> Finding | None:
    if not document["too_late"]:
        return None
    return Finding(
        PROBLEM,
        "too_late",
        f"Taken before it was hooked: {len(document['too_late'])}",
        f"{_list(document['too_late'])}. Calls that way go past the hook.",
        "call the method on the object (manager.send(...)) where it is used, instead of keeping"
        " manager.send under a name of its own",
    )


def _shadowed(document: dict[str, Any]) -> Finding | None:
    if not document["shadowed"]:
        return None
    names = [f"{one['class']}.{one['attribute']}" for one in document["shadowed"]]
    return Finding(
        PROBLEM,
        "shadowed",
        f"Instances with a method of their own: {_list(names)}",
        "An attribute of the instance stands before the class's hooked method: calls go past the"
        " hook.",
        "do not assign to the method's name on instances; override it in a subclass",
    )


def _nothing_sent(document: dict[str, Any]) -> Finding | None:
    frames, _ = traffic(document)
    if frames or not document["applications"]:
        return None
    return Finding(
        PROBLEM,
        "no_traffic",
        "No message has been sent yet",
        "Zero violations of zero messages says nothing.",
        "let a client connect and use the application, then ask again",
    )


def _share(document: dict[str, Any]) -> Finding | None:
    frames, missing = traffic(document)
    if not missing:
        return None
    share = missing / frames
    level = PROBLEM if share > SHARE and missing >= ENOUGH else NOTE
    return Finding(
        level,
        "unjudged",
        f"{missing:,} of {frames:,} messages ({share:.1%}) could not be judged",
        "A leak among them would not have been found. The commonest kinds are listed below, each"
        " with what settles it.",
    )


def _store(document: dict[str, Any]) -> Finding | None:
    if document["stage"] < 2 or document["outputs"].get("store"):
        return None
    wanted = _setting(document, "trace_dir")
    text = "A violation does not outlive the process, and there is nothing to review afterwards."
    if wanted:
        text = f"The trace directory {wanted} cannot be used. {text}"
    return Finding(
        PROBLEM,
        "no_store",
        "No trace directory",
        text,
        "export WS_AUDIT_TRACE_DIR=/var/lib/ws-audit",
    )


def _expired(document: dict[str, Any]) -> Finding | None:
    over = [one for one in document.get("policies", []) if one["expired"]]
    if not over:
        return None
    return Finding(
        PROBLEM,
        "policy_expired",
        f"Policies have expired: {_list([_policy(one) for one in over])}",
        "They excuse nothing any more: what they excused is a violation, or not judged, again.",
        "look whether each is still right; then give it a new date, or remove its [[policy]] table",
    )


def _unused(document: dict[str, Any]) -> Finding | None:
    frames, _ = traffic(document)
    unused = [
        one for one in document.get("policies", []) if not one["excused"] and not one["expired"]
    ]
    if not unused or not frames:
        return None
    return Finding(
        NOTE,
        "policy_unused",
        f"Policies that have excused nothing: {_list([_policy(one) for one in unused])}",
        "Either what they are about has not happened yet in this process, or they do not match it,"
        " or nothing needs them. One that nobody needs hides a leak some day.",
        "compare its events, fields and users with the messages; remove it if it is not needed",
    )


def _policy(one: dict[str, Any]) -> str:
    until = f", until {one['expires']}" if one["expires"] else ""
    return f"[[policy]] {one['number']} ({one['kind']}{until}: {one['reason']})"


def _violations(document: dict[str, Any]) -> Finding | None:
    if not document["violations"]:
        return None
    directory = document["outputs"].get("store") or "DIR"
    return Finding(
        NOTE,
        "violations",
        f"Violations were found: {_counts(document['violations'])}",
        "The agent works. Who saw whose data, since when and from which line, tells the review"
        + ("." if document["outputs"].get("store") else " (it needs a trace directory)."),
        f"ws-audit review {directory}",
    )


def _key(document: dict[str, Any]) -> Finding | None:
    if document["outputs"].get("hash_key") != "process":
        return None
    return Finding(
        NOTE,
        "hash_key",
        "Users have another hash in each process",
        "Without a key or a trace directory nobody can tell that two processes mean the same user.",
        'export WS_AUDIT_HASH_KEY="$(openssl rand -hex 32)"  # keep it: the same everywhere',
    )


def _otlp(document: dict[str, Any]) -> Finding | None:
    if document["outputs"].get("spans") != "no OTLP":
        return None
    return Finding(
        NOTE,
        "no_otlp",
        "Spans go nowhere but to the trace directory",
        "Fine if you have no tracing.",
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318",
    )


def _metrics(document: dict[str, Any]) -> Finding | None:
    where = document["outputs"].get("metrics", "")
    if document["multiprocess"]:
        return Finding(
            NOTE,
            "no_exemplars",
            "Metrics have no exemplars",
            "PROMETHEUS_MULTIPROC_DIR is set, and prometheus_client has none in that mode: an"
            " alert cannot link to the trace of a violation.",
        )
    if where == "not served":
        return Finding(
            PROBLEM,
            "metrics_not_served",
            "The metrics are not served",
            "No port of the range was free, so no alert can fire.",
            "export WS_AUDIT_METRICS_ADDR=127.0.0.1:9464-9471  # a port for each process",
        )
    if where == "in the default registry":
        return Finding(
            NOTE,
            "metrics_default",
            "The metrics are in the application's default registry",
            "They are scraped only if the application serves it.",
            "export WS_AUDIT_METRICS_ADDR=127.0.0.1:9464-9471",
        )
    return None


def _refused(document: dict[str, Any]) -> Finding | None:
    refused = document["refused"]
    if not refused or not document["classes_total"]:
        return None
    told = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:3])
    return Finding(
        NOTE,
        "near_misses",
        f"Classes that look like managers and were left alone: {len(refused)}",
        f"{told}.",
        f"ws-audit doctor explain {next(iter(refused))}",
    )


_CHECKS: Final[tuple[Callable[[dict[str, Any]], Finding | None], ...]] = (
    _off,
    _not_serving,
    _transports,
    _blind,
    _classes,
    _errors,
    _selftest,
    _declared,
    _method_failed,
    _too_late,
    _shadowed,
    _share,
    _nothing_sent,
    _store,
    _dropped,
    _expired,
    _violations,
    _unused,
    _metrics,
    _refused,
    _key,
    _otlp,
)


def _setting(document: dict[str, Any], key: str) -> Any:
    return next((one["value"] for one in document["settings"] if one["key"] == key), "")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount:,}" for name, amount in sorted(counts.items()))


def _list(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def summary(document: dict[str, Any]) -> str:
    """One line on a process."""
    frames, missing = traffic(document)
    judged = frames - missing
    match = document["verdicts"].get(MATCH, 0)
    return f"{frames:,} messages, {judged:,} judged, {match:,} of them right"
