# SPDX-License-Identifier: Apache-2.0
"""`ws-audit check --list`: the managers that processes really run, from their trace directory.

Why it exists: "one implementation, one import path, one factory" is proved by what runs. Each
process leaves its inventory; here they are one.

It must never write anything, and never import the application.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from ws_audit.configuration.settings import load
from ws_audit.inventory.merged import merged

from .doctor import latest, processes

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `check` takes."""
    parser.description = (
        "Print the inventory of the processes that write to a trace directory: implementations and"
        " their fingerprints, import paths, who delivers which event, factories and what they"
        " hand out."
    )
    parser.epilog = (
        "Exit code: 0 listed, 2 bad usage or nothing to list, 3 internal error. Of processes that"
        " run their latest inventory is at most ten seconds old; if none runs, those of the last"
        " run are listed."
    )
    parser.add_argument(
        "--list", action="store_true", required=True, help="print the inventory", dest="listed"
    )
    parser.add_argument(
        "--source",
        metavar="DIR",
        action="append",
        help="a trace directory, of several services several; default: the one that is configured",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: %(default)s"
    )


def main(options: argparse.Namespace) -> int:
    """Gather, print, and return the exit code."""
    sources: list[str] = options.source or []
    if not sources:
        settings, problems = load(os.environ, os.getcwd())
        for problem in problems:
            print(f"ws-audit check: {problem}", file=sys.stderr)
        if problems:
            return 2
        if not settings.trace_dir:
            return _wrong("no trace directory is set here; --source DIR names one")
        sources = [settings.trace_dir]
    documents = []
    for source in sources:
        if not os.path.isdir(source):
            return _wrong(f"no directory {source}")
        found = latest(processes(source))
        if not found:
            return _wrong(f"no process with the agent in it has left its inventory in {source}")
        documents += found
    inventory = merged(documents)
    if not inventory["processes"]:
        return _wrong(
            "no process there has an inventory: none had a manager class, or they ran an"
            " older ws-audit"
        )
    print(json.dumps(inventory, indent=1) if options.format == "json" else text(inventory))
    return 0


def _wrong(what: str) -> int:
    print(f"ws-audit check: {what}", file=sys.stderr)
    return 2


def text(inventory: dict[str, Any]) -> str:
    """The inventory for people."""
    summary = inventory["summary"]
    factories, odd = summary["factories"], summary["inconsistent_factories"]
    share = f" ({odd / factories:.0%} inconsistent)" if factories else ""
    counts = (
        _some(summary["implementations"], "implementation"),
        _some(summary["import_paths"], "import path"),
        _some(factories, "factory", "factories") + share,
    )
    lines = [f"{_some(summary['processes'], 'process', 'processes')}: {', '.join(counts)}"]
    unready = sum(not one["complete"] for one in inventory["processes"])
    if unready:
        lines.append(f"{_some(unready, 'process', 'processes')} had not looked at everything yet")
    left_out = sum(one["left_out"] for one in inventory["processes"])
    if left_out:
        lines.append(f"{_some(left_out, 'class', 'classes')} past the bound were not looked at")
    lines.append("")
    for one in inventory["implementations"]:
        lines += _implementation(one)
    for title, key, tell in _PARTS:
        found = [line for one in inventory[key] for line in tell(one)]
        if found:
            lines += ["", f"{title}:", *found]
    return "\n".join(lines)


def _implementation(one: dict[str, Any]) -> list[str]:
    services = ", ".join(one["services"])
    head = (
        f"  {one['name']}  ({one['duty']}; {one['fingerprint']}; {one['alive']} alive of"
        f" {one['created']}; {services})"
    )
    told = [f"      {path}" for path in one["paths"]]
    if one["outlived"]:
        told.append(f"      {_some(one['outlived'], 'instance')} of users who have left")
    return [head, *told]


def _differs(one: dict[str, Any]) -> list[str]:
    told = [
        f"      {each['fingerprint']}: {', '.join(each['services'])}"
        for each in one["implementations"]
    ]
    return [f"  {one['name']}", *told]


def _event(one: dict[str, Any]) -> list[str]:
    if len(one["by"]) < 2:
        return []
    by = [f"      {each['share']:4.0%}  {each['code']}" for each in one["by"]]
    return [f"  {one['event']}  ({one['deliveries']})", *by]


def _factory(one: dict[str, Any]) -> list[str]:
    products = [
        f"      {each['product']}: {each['made']} made, {each['reused']} reused"
        for each in one["products"]
    ]
    return [f"  {one['factory']}{'' if one['consistent'] else '  INCONSISTENT'}", *products]


def _twins(one: dict[str, Any]) -> list[str]:
    ways = f"sync {', '.join(one['sync'])}; async {', '.join(one['async'])}"
    return [f"  {one['name']}: {ways}"]


def _drifts(one: dict[str, Any]) -> list[str]:
    told = list(one["differs"])
    for key, other in (("only_one", one["other"]), ("only_other", one["one"])):
        if one[key]:
            told.append(f"{', '.join(one[key])}: not in {other}")
    return [f"  {one['one']} and {one['other']}", *(f"      {line}" for line in told)]


_PARTS = (
    ("Not the same code everywhere", "differ", _differs),
    ("Events that more than one piece of code delivers", "events", _event),
    ("Factories", "factories", _factory),
    (
        "Factories of one name, sync and async",
        "twins",
        _twins,
    ),
    (
        "Made past the factory",
        "past_factory",
        lambda one: [f"  {one['class']}  {_some(one['instances'], 'instance')} at {one['site']}"],
    ),
    (
        "One name, several classes",
        "same_name",
        lambda one: [f"  {one['name']}: {', '.join(one['classes'])}"],
    ),
    (
        "One file, loaded as several modules",
        "loaded_twice",
        lambda one: [f"  {one['file']}: {', '.join(one['modules'])}"],
    ),
    ("The same methods, called differently", "drift", _drifts),
)


def _some(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
