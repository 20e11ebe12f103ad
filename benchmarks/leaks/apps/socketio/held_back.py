# SPDX-License-Identifier: Apache-2.0
"""Defects of the lobby that are run once, at the end."""

from __future__ import annotations

from ...case import Defect, Swap
from . import clients

DEFECTS = [
    Defect(
        "runs_of_the_client",
        "ownership",
        "a run belongs to the program that asked, not to the user: all web users share theirs",
        "pipefy/ai-toolkit#548",
        "identity",
        (
            Swap(
                "agent.py", 'return session["name"]', 'return session["client"] or session["name"]'
            ),
        ),
        clients.lists_of_runs,
    ),
    Defect(
        "skip_without_room",
        "recipient",
        "to the user's other devices became to everybody but this device",
        "mcdonc/klangk#1714, miguelgrinberg/Flask-SocketIO#1289",
        "routing",
        (
            Swap(
                "app.py",
                'await sio.emit("note:synced", note, room=f"user:{session[\'name\']}", skip_sid=sid)',
                'await sio.emit("note:synced", note, skip_sid=sid)',
            ),
        ),
        clients.devices,
    ),
]
