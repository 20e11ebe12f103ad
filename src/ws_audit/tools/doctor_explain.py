# SPDX-License-Identifier: Apache-2.0
"""`ws-audit doctor explain TARGET`: why a class is taken or not, and what would change it.

Why it exists: classes are found by rules, and whoever disagrees with one should see which it
was and get the table that overrules it, with the names filled in.

It must never import the application into this process; see doctor_look.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any, Final

from ws_audit import naming
from ws_audit.classes.signs import words
from ws_audit.configuration.settings import load

from .doctor_report import class_lines

_SOCKET: Final = re.compile(naming.SOCKETS, re.IGNORECASE)
_SECONDS: Final = 120.0


def main(arguments: list[str], form: str) -> int:
    """Explain the target and return the exit code."""
    if arguments[:1] == ["--format"] and len(arguments) > 1:  # after the word, too
        form, arguments = arguments[1], arguments[2:]
    if arguments[1:2] == ["--format"]:
        form, arguments = (arguments[2:3] or [""])[0], [arguments[0], *arguments[3:]]
    if len(arguments) != 1 or form not in ("text", "json"):
        return _wrong(
            "expected one TARGET: package.module, package.module:Class,"
            " package.module:Class.method, or the path of a .py file"
        )
    _, problems = load(os.environ, os.getcwd())
    for problem in problems:
        print(f"ws-audit doctor: {problem}", file=sys.stderr)
    if problems:
        return 2
    (target,) = arguments
    print(f"ws-audit doctor: importing {target.partition(':')[0]}", file=sys.stderr)
    document = _look(target)
    if "error" in document:
        return _wrong(document["error"])
    for entry in document["classes"]:
        entry["table"] = table(entry)
    print(json.dumps(document, indent=1) if form == "json" else _text(document))
    return 0


def _wrong(what: str) -> int:
    print(f"ws-audit doctor explain: {what}", file=sys.stderr)
    return 2


def _look(target: str) -> dict[str, Any]:
    """What the other process says of the target."""
    reading, writing = os.pipe()
    environment = {name: text for name, text in os.environ.items() if name != "WS_AUDIT_ENABLED"}
    start = "from ws_audit.tools.doctor_look import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, target, str(writing)], env=environment, pass_fds=(writing,)
    )
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        text = answer.read()
    process.wait(_SECONDS)
    if not text:
        return {
            "error": f"{target} ended the process that imported it: exit code {process.returncode}"
        }
    document: dict[str, Any] = json.loads(text)
    return document


def table(entry: dict[str, Any]) -> str:
    """The [[manager]] table that would change what a class is taken for."""
    lines = ["[[manager]]", f'class = "{entry["class"]}"']
    if entry["taken"]:
        return "\n".join([*lines, "ignore = true"])
    sends = [one for one in entry["not_hooked"] if _may_send(one)]
    names = [one["name"] for one in sends] or ["NAME_OF_ITS_METHOD_THAT_SENDS"]
    lines.append(f"send = [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in names)}]")
    binds = [one["name"] for one in entry["not_hooked"] if _takes_socket(one)]
    if binds:
        lines.append(f"bind = [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in binds)}]")
    users = [
        name
        for one in entry["not_hooked"]
        for name in one["parameters"]
        if words(name).lstrip("_") in naming.RECIPIENTS
    ]
    if users:
        lines.append(f'recipient = "{users[0]}"')
    return "\n".join(lines)


def _takes_socket(method: dict[str, Any]) -> bool:
    return any(_SOCKET.match(words(name).lstrip("_")) for name in method["parameters"])


def _may_send(method: dict[str, Any]) -> bool:
    """Called like a send, or taking what is called like a message."""
    if "would be send" in method["why"]:
        return True
    return any(words(name).lstrip("_") in naming.PAYLOADS for name in method["parameters"])


def _text(document: dict[str, Any]) -> str:
    lines = [f"{document['module']} ({document['file']})"]
    if not document["looked_at"]:
        lines.append(f"The agent does not look at this module: {document['why_not']}.")
    lines.append(
        "Its names show real-time code."
        if document["realtime"]
        else "Nothing in it shows real-time code: it imports no real-time library."
    )
    lines += [f"Configuration: {text}" for text in document["told"]]
    if not document["classes"]:
        lines += ["", "It defines no classes."]
    for entry in document["classes"]:
        lines += ["", "TAKEN" if entry["taken"] else "LEFT ALONE"]
        lines += class_lines({**entry, "not_hooked": []})
        if entry["owners"]:
            lines.append(f"      an instance's user is read from {', '.join(entry['owners'])}")
        for method in entry["not_hooked"]:
            lines.append(f"      {'none':<10} {method['name']:<24} {method['why']}")
        lines += ["   To change that:" if entry["taken"] else "   To have it taken:"]
        lines += [f"     {line}" for line in entry["table"].splitlines()]
    if document["factories"]:
        lines += ["", "Functions and methods watched as factories (if they return managers)"]
        lines += [f"   {one['factory']}" for one in document["factories"]]
    return "\n".join(lines)
