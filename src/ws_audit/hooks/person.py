# SPDX-License-Identifier: Apache-2.0
"""Whom the agent asks an application's function about: an identifier, as applications use them.

Why it exists: a team looks people up by the identifier's text (`people[who]`, `who == "u-7"`), or
by what else is known of it (`who.tenant`). One argument serves both.

It must never show by its repr whom it means: error reports and debuggers print what functions
were given. What an application keeps of it, or pickles, is its own plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ws_audit.model import Principal


class Person(str):
    """The text of an identifier in canonical form, with `user` (the same), `tenant` and `kind`."""

    __slots__ = ("kind", "shape", "tenant", "user")

    user: str
    tenant: str | None
    kind: str
    shape: str

    def __new__(cls, who: Principal) -> Person:  # noqa: PYI034  (3.10 has no Self)
        made = str.__new__(cls, who.user)
        made.user, made.tenant, made.kind, made.shape = who.user, who.tenant, who.kind, who.shape
        return made

    def __repr__(self) -> str:
        return "<ws_audit principal>"

    def __reduce_ex__(self, protocol: object) -> tuple[type, tuple[str]]:
        return (str, (self.user,))
