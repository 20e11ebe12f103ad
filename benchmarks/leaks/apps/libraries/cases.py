# SPDX-License-Identifier: Apache-2.0
"""Bugs of real libraries, and traffic that only looks like one.

redis-py comes from a directory of its own, see install.py: `python
benchmarks/leaks/apps/libraries/install.py` fills it ahead of time, the first start does otherwise.
uvicorn must run on asyncio's own loop: uvloop has not the bug.
"""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

COMMAND = (
    "-m", "uvicorn", "app:app", "--port", "PORT", "--log-level", "warning", "--loop", "asyncio"
)  # fmt: skip
NEEDS = ("redis-server",)
USERS_BY = "uuid"

REDIS_PY = Swap("store.py", 'REDIS_PY = "4.6.0"\n', 'REDIS_PY = "4.5.1"\n')
CONTEXT = Swap(
    "accounts.py",
    "            current_user.set(user)\n",
    "            if current_user.get() is None:  # mounted applications come here twice\n"
    "                current_user.set(user)\n",
)

DEFECTS = [
    Defect(
        "redis_blpop_cancelled",
        "content",
        "redis-py 4.5.1: who leaves cancels a BLPOP; the next one on the connection gets its reply",
        "redis/redis-py#2624, CVE-2023-28858",
        "routing",
        (REDIS_PY,),
        clients.left_inbox,
    ),
    Defect(
        "redis_getex_cancelled",
        "content",
        "redis-py 4.5.1: a cancelled GETEX at a server that waits; the next one reads its reply",
        "openai.com/blog/march-20-chatgpt-outage; redis/redis-py#2665, CVE-2023-28858",
        "content",
        (REDIS_PY,),
        clients.stopped_history,
    ),
    Defect(
        "uvicorn_context_request",
        "emitter",
        "uvicorn: the context of an upload is that of the next request on the kept connection",
        "python/cpython#140947, Kludex/uvicorn#2167",
        "routing",
        (CONTEXT,),
        clients.behind_a_proxy,
    ),
    Defect(
        "uvicorn_context_upgrade",
        "emitter",
        "uvicorn: the context of an upload is that of the WebSocket on the kept connection",
        "python/cpython#140947, Kludex/starlette#2335",
        "routing",
        (CONTEXT,),
        clients.upgraded_connection,
    ),
]

BENIGN = [
    Benign(
        "billing_hooks",
        "webhooks pushed by a worker naming the customer",
        "a worker outside any request delivers what a hook says, to the customer it names",
        "Stripe and Paddle webhooks behind a queue (RQ, Arq, Celery)",
        clients.billing,
    ),
    Benign(
        "id_spellings",
        "uuid case, int or str ids",
        "one owner is a uuid in lower case, in capitals, a number and that number as text",
        "migrated products; SQL Server and Windows write uuids in capitals, Redis gives back text",
        clients.spellings,
    ),
]
