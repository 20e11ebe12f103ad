# SPDX-License-Identifier: Apache-2.0
"""The entry point through which `opentelemetry-instrument` switches the agent on.

Why it exists: where every service is started by that command, one more package in the image
is all it takes. `WS_AUDIT_ENABLED` with a false value switches this way off, too, and so does
`ws_audit` among `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.

It must never need OpenTelemetry's instrumentation package: whoever loads this module has it,
and everybody else may import it all the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import disable, enable
from .configuration.settings import enabled

if TYPE_CHECKING:
    from collections.abc import Collection

if TYPE_CHECKING:
    Base = object
else:
    try:
        from opentelemetry.instrumentation.instrumentor import BaseInstrumentor as Base
    except ImportError:
        Base = object


class WsAuditInstrumentor(Base):
    """`enable()` and `disable()` under the names OpenTelemetry's loader calls."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: which frameworks and servers there are is seen as they are imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if not os.environ.get("WS_AUDIT_ENABLED", "").strip() or enabled(os.environ):
            enable()

    def _uninstrument(self, **kwargs: Any) -> None:
        disable()

    if Base is object:
        instrument, uninstrument = _instrument, _uninstrument
