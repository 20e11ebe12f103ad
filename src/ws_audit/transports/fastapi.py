# SPDX-License-Identifier: Apache-2.0
"""FastAPI: the results of dependencies, where `Depends(get_current_user)` leaves its user.

Why it exists: such a user stands nowhere in the scope. It must never call a dependency, and
only looks at values whose parameter is a dependency's (path parameters are claims).
"""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ws_audit.hooks.calls import parameter
from ws_audit.principals.identity import find_cell

if TYPE_CHECKING:
    from ws_audit.runtime import Runtime
    from ws_audit.sink import Sink

FUNCTION = "solve_dependencies"


class _Solve:
    stage = "sink"

    def __init__(self, function: FunctionType, sink: Sink) -> None:
        self._request = parameter(function, "request")
        self._dependant = parameter(function, "dependant")
        self._sink = sink

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._request is None or self._dependant is None:
            return None
        found = find_cell(self._request(args, kwargs))
        return None if found is None else (*found, self._dependant(args, kwargs))

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        if error is not None:
            return
        cell, scope, dependant = state
        # Since FastAPI 0.112 an object with `values`; before that a tuple that begins with them.
        values = result[0] if type(result) is tuple else result.values
        for dependency in dependant.dependencies:
            name = dependency.name
            if name in values:
                self._sink.dependency(cell, scope, name, values[name])


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `fastapi.dependencies.utils`, or the name `fastapi.routing` took from it before."""
    function = getattr(module, FUNCTION, None)
    if type(function) is FunctionType:
        runtime.patch(module, FUNCTION, _Solve(function, runtime.sink))
