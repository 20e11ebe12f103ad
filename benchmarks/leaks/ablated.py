# SPDX-License-Identifier: Apache-2.0
"""The agent with less evidence: `ablated.py payload MODULE ...` runs a module so audited.

Why it exists: what each kind of evidence is worth is seen by taking the others away. The judge
is given fewer pieces; everything else runs as it does.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import ws_audit.sink

KEPT = {"payload": ("payload",), "argument": ("argument",), "binding": ()}


def main() -> None:
    """Run the module with a judge that sees less."""
    kept = KEPT[sys.argv[1]]
    sink: Any = ws_audit.sink
    judge = sink.judge

    def judge_less(evidence: Any, *rest: Any, **more: Any) -> Any:
        seen = tuple(one for one in evidence if one.name == "connection" or one.name in kept)
        return judge(seen, *rest, **more)

    sink.judge = judge_less
    module, *words = sys.argv[2:]
    sys.argv = [module, *words]
    sys.path[0] = ""
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
