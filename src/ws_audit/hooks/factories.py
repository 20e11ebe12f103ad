# SPDX-License-Identifier: Apache-2.0
"""What happens around a function that hands out managers: what came, made anew or not, for whom.

Why it exists: a factory that returns another type on some paths, or a new manager at each
call, loses events without an exception; one that hands the same object to two users mixes
them up.

It must never keep or touch a product beyond looking at its type, and never make a label of
anything but classes: what a function returns may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.classes.classify import undecorated
from ws_audit.messages.sites import Site, caller, site_text
from ws_audit.model import CALL, NONE, Evidence
from ws_audit.principals.identity import DIFFERENT, agree

from .instances import owner_among

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

    from ws_audit.labels import Managers
    from ws_audit.tally import Tally

    from .instances import Created

_MADE, _REUSED = "made", "reused"
_TYPES: Final = 20  # different ones a function may return before it is known for a factory


class _Call:
    """One call of a factory, until its product is there."""

    __slots__ = ("made", "produced", "site", "user")

    def __init__(self, made: int, user: Evidence | None, site: Site) -> None:
        self.made = made
        self.user = user
        self.site = site
        self.produced = False


class FactoryHook:
    """Around a factory: plain, coroutine function, or a generator that yields its product."""

    stage = "hooks"

    def __init__(
        self,
        function: FunctionType,
        name: str,
        created: Created,
        is_manager: Callable[[type], bool],
        tally: Tally,
        products: Managers,
    ) -> None:
        function = undecorated(function)
        self._names = function.__code__.co_varnames[: function.__code__.co_argcount]
        self._name = name
        self._created = created
        self._is_manager = is_manager
        self._tally = tally
        self._products = products
        # Counts of other products, until the first manager shows that this is a factory.
        self._others: dict[str, int] | None = {}

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        given: dict[str, Any] = dict(zip(self._names, args, strict=False))
        given.update(kwargs)
        user = owner_among(given.get)
        if user is not None:
            user = Evidence("argument", user.principal, CALL, user.source, user.strength)
        return _Call(self._created.made, user, caller(3))

    def after(self, call: _Call, result: Any, error: BaseException | None) -> None:
        if error is None and not call.produced:
            self._product(call, result)

    def pause(self, call: _Call, value: Any) -> None:
        if value is not None:  # else a coroutine: its product comes later
            self._product(call, value)

    def resume(self, call: _Call) -> None:
        """Nothing."""

    def _product(self, call: _Call, product: object) -> None:
        call.produced = True
        cls = type(product)
        if not self._is_manager(cls):
            self._other(NONE if product is None else self._products.label(cls))
            return
        entry = self._created.of((product,))
        made = entry.made > call.made
        if self._others is not None:
            others, self._others = self._others, None
            for label, amount in others.items():
                self._count(label, _REUSED, amount)
        self._count(entry.manager, _MADE if made else _REUSED, 1)
        user, before = call.user, entry.handed or entry.owner
        if user is not None:
            if before is not None and agree(before, user.principal) == DIFFERENT:
                self._created.share(entry, before, user, site_text(call.site, self._name))
            entry.handed = user

    def _other(self, label: str) -> None:
        if self._others is None:
            self._count(label, _REUSED, 1)
        elif label in self._others or len(self._others) < _TYPES:
            self._others[label] = self._others.get(label, 0) + 1

    def _count(self, product: str, how: str, amount: int) -> None:
        self._tally.add(("product", self._name, product, how), amount)
