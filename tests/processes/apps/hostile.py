# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""More of everything than a label may have: users, event names, classes, factories.

python hostile.py USERS EVENTS CLASSES

Half the classes are written in a module, half are made by type() with names nobody would write.
Every fifth event name stands in no code: clients made it up, some to break an exposition format.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import floor

BREAKING = ['"} 1\nws_audit_frames_total{x="', "\\", "\x00\x1b[31m", "é\u202e", "a" * 5_000, " "]

CLASS = """
class {name}:
    async def send_to_user(self, user_id, message, wire):
        await wire({{"type": "websocket.send", "text": json.dumps(message)}})


def get_manager_for_{lower}():
    return random.choice(CLASSES)()
"""


def written(events: int, classes: int) -> Any:
    """A module of classes, their factories, and the event names their developers wrote."""
    names = [f"Crowd{number}ConnectionManager" for number in range(classes // 2)]
    text = "import json\nimport random\n" + "".join(
        CLASS.format(name=name, lower=name.lower()) for name in names
    )
    text += f"\nCLASSES = [{', '.join(names)}]\n"
    text += "".join(f"EVENT_{number} = 'written.{number}'\n" for number in range(events * 4 // 5))
    # Half of the other classes are made while the module is imported, as a registry would.
    text += f"BREAKING = {BREAKING!r}\n"
    text += (
        f"for _number in range({classes - classes // 2}):\n"
        "    _name = f'Made{_number}ConnectionManager' + BREAKING[_number % len(BREAKING)]\n"
        "    _name = _name.replace(chr(0), '')\n"
        "    _made = type(_name, (), dict(vars(CLASSES[0])))\n"
        "    globals()[_name] = _made\n"
        "    CLASSES.append(_made)\n"
    )
    Path("crowded.py").write_text(text)
    sys.path.insert(0, "")
    import crowded

    return crowded


async def visits(audited: Any, users: int) -> None:
    """Every user comes once and gets one message."""

    async def receive() -> dict[str, Any]:
        return {}

    async def wire(message: dict[str, Any]) -> None:
        pass

    for number in range(users):
        user = floor.User(f"user-{number}")
        scope = {"type": "websocket", "path": "/", "headers": [], "user": user}
        await audited(scope, receive, wire)


def main() -> None:
    users, events, classes = map(int, sys.argv[1:])
    crowded = written(events, classes)
    managers = [cls() for cls in crowded.CLASSES]
    # Through the module: a list made while it was imported would hold what nobody had hooked yet.
    factories = [name for name in vars(crowded) if name.startswith("get_manager")]
    managers += [getattr(crowded, name)() for name in factories for _ in range(classes)]
    told = [name for key, name in vars(crowded).items() if key.startswith("EVENT_")]
    told += [f"{BREAKING[number % len(BREAKING)]}{number}" for number in range(events // 5)]
    chance = random.Random(17)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        # Every hundredth message is somebody else's.
        owner = f"user-{chance.randrange(users)}" if chance.random() < 0.01 else scope["user"].id
        message = {"type": chance.choice(told), "user_id": owner}
        await chance.choice(managers).send_to_user(owner, message, send)

    audited = floor.serve(application)
    asyncio.run(visits(audited, users))
    from prometheus_client import generate_latest

    Path("page").write_bytes(generate_latest())
    floor.tell(
        frames=floor.frames_scraped(), errors=floor.sums("ws_audit_internal_errors_total", "stage")
    )


if __name__ == "__main__":
    main()
