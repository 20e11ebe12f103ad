# SPDX-License-Identifier: Apache-2.0
"""gunicorn's own ASGI worker: the application is taken over when the worker has loaded it.

Why it exists: it is loaded in the worker, after the fork, also with `--preload`, where the
arbiter has imported it before. gunicorn's workers end as any interpreter does, so `atexit`
runs. Uvicorn's workers for gunicorn are uvicorn's: see there. It must never run in the arbiter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asgi import TakeOver

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `gunicorn.workers.gasgi`."""
    runtime.patch(module, "ASGIWorker.load_wsgi", TakeOver(runtime, "asgi"))
