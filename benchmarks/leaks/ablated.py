# SPDX-License-Identifier: Apache-2.0
"""The agent with less evidence: `ablated.py payload MODULE ...` runs a module so audited.

Why it exists: what each kind of evidence is worth is seen by taking the others away. The judge
is given fewer pieces, and what is no delivery (a shared instance, say) is told only of the
binding; everything else runs as it does.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import ws_audit.sink
import ws_audit.verdict.excuses

KEPT = {"payload": ("payload",), "argument": ("argument",), "binding": ()}
EVENTS = {"binding": ("rebound_connection", "inbound_vs_connection")}


def main() -> None:
    """Run the module with a judge that sees less."""
    mode = sys.argv[1]
    sink: Any = ws_audit.sink
    excuses: Any = ws_audit.verdict.excuses
    judge = sink.judge
    event = sink.Sink._event  # noqa: SLF001  (the one place where they are told)

    def judge_less(evidence: Any, *rest: Any, **more: Any) -> Any:
        seen = tuple(one for one in evidence if one.name == "connection" or one.name in KEPT[mode])
        return judge(seen, *rest, **more)

    def tell_less(self: Any, rule: str, *rest: Any, **more: Any) -> None:
        if rule in EVENTS.get(mode, ()):
            event(self, rule, *rest, **more)

    sink.judge = excuses.judge = judge_less
    sink.Sink._event = tell_less  # noqa: SLF001
    module, *words = sys.argv[2:]
    sys.argv = [module, *words]
    sys.path[0] = ""
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
