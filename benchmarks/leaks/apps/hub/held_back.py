# SPDX-License-Identifier: Apache-2.0
"""The trading desk's defects that are run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        "parked-by-device",
        "shared_state",
        "the queue kept for a reconnect is found by the device's name, which others have too",
        "an emitter pool re-homing emitters between users (managers in the wild)",
        "routing",
        (Swap("hub.py", "return (trader.id, device)", "return device"),),
        clients.away,
    ),
    Defect(
        "report-buffer",
        "content",
        "the reused buffer is not truncated: a shorter report ends with the longer one before it",
        "vllm-project/vllm#13408: content mixed between requests; pooled buffers",
        "content",
        (
            Swap(
                "desk.py",
                "        out.seek(0)\n        out.truncate()\n",
                "        out.seek(0)\n",
            ),
        ),
        clients.risk_reports,
    ),
    Defect(
        "whole-desk",
        "recipient",
        "a message to one trader goes to all screens of the firm",
        "Abbah77/Here_web-backend: send_personal_message sends to the user's whole channel",
        "routing",
        (
            Swap(
                "hub.py",
                "from traders import Trader, current_trader",
                "from traders import TRADERS, Trader, current_trader",
            ),
            Swap(
                "hub.py",
                "                return list(self.by_trader.get(envelope.target, ()))\n",
                "                desk = TRADERS[envelope.target].tenant\n"
                "                return [s for s in self.sessions if s.trader.tenant == desk]\n",
            ),
        ),
        clients.desk_day,
    ),
]
