# SPDX-License-Identifier: Apache-2.0
"""What a stored violation must say beside its evidence, so that it can be judged again.

Why it exists: the flat attributes of a span show what a person looks at: one piece of evidence of
each kind. Judge and policies go by more. What writes that and what reads it stand here together.

It must never hold a raw identifier or an event's name that no developer wrote, and never let what
was not stored pass for something that was.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.model import NONE, OTHER, Evidence, Inputs, Principal
from ws_audit.principals.identity import principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ws_audit.model import Delivery

    Hash = Callable[[Principal | None], str]

# Before a hash that stands for an identifier: so nothing takes it for a uuid or a number.
_MARK: Final = "#"

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Stored(NamedTuple):
    """A delivery as it was judged; its people are hashes.

    `names` are the event's names, None for one that no developer wrote. Its strengths are those
    that it had in the end, after it was weighed how the message was addressed.
    """

    evidence: tuple[Evidence, ...]
    names: tuple[str | None, ...]
    inputs: Inputs


# -- written by the agent --------------------------------------------------------------------------


def write(delivery: Delivery, hasher: Hash) -> str:
    """What the flat attributes lack, as JSON; `{}` if that is nothing."""
    evidence = delivery.evidence
    whole = len({one.name for one in evidence}) < len(evidence)  # the attributes have one of each
    if delivery.inputs is None and not whole and all(map(_plain, evidence)):
        return "{}"  # mostly: and the application waits
    inputs = delivery.inputs or Inputs("")
    pieces = []
    for one in evidence:
        piece: dict[str, Any] = {"kind": one.name}
        if whole:
            piece |= {
                "hash": hasher(one.principal),
                "at": one.at,
                "source": one.source,
                "strength": one.strength,
                "namespace": f"{one.principal.kind}:{one.principal.shape}",
            }
        if one.principal.tenant is not None:
            piece["user"] = _user(one.principal, hasher)
        if not one.attests:
            piece["silent"] = True
        if one.aliases and one.name == "connection":
            piece["aliases"] = [_alias(other, hasher) for other in one.aliases]
        if whole or len(piece) > 1:
            pieces.append(piece)
    told: dict[str, Any] = {}
    if pieces:
        told["evidence"] = pieces
    if inputs.named:
        told["named"] = inputs.named
    if inputs.answers:
        told["answers"] = inputs.answers
    return _json(told)


def write_tables(tables: Iterable[PolicyTable], hasher: Hash) -> str:
    """Policies without what a person reads in them, as JSON; users as hashes."""
    return _json(
        [
            {
                key: value
                for key, value in table._replace(reason="")._asdict().items()
                if value or key == "number"
            }
            for table in hashed(tables, hasher)
        ]
    )


def hashed(tables: Iterable[PolicyTable], hasher: Hash) -> tuple[PolicyTable, ...]:
    """The tables, their users as `read` has people."""
    return tuple(
        table._replace(users=tuple(sorted(_mark(_known(text, hasher)) for text in table.users)))
        for table in tables
    )


def _json(value: object) -> str:
    """JSON with single quotes: double ones would have to be escaped in a line, and read slower."""
    return _encode(value).replace("'", "\\u0027").replace('"', "'")


def _parsed(text: str) -> Any:
    return json.loads(text.replace("'", '"'))


def _plain(one: Evidence) -> bool:
    """Whether the attributes of such a piece say all of it."""
    return (
        one.attests
        and one.principal.tenant is None
        and not (one.aliases and one.name == "connection")
    )


def _known(text: str, hasher: Hash) -> str:
    # As a policy takes it: without a tenant, and what names nobody as it stands.
    who = principal(text)
    return hasher(Principal(None, text if who is None else who.user, "", ""))


def _user(who: Principal, hasher: Hash) -> str:
    return hasher(who._replace(tenant=None))


def _alias(who: Principal, hasher: Hash) -> dict[str, str]:
    alias = {"hash": hasher(who), "namespace": f"{who.kind}:{who.shape}"}
    if who.tenant is not None:
        alias["user"] = _user(who, hasher)
    return alias


# -- read back -------------------------------------------------------------------------------------


def read(text: str, flat: Iterable[tuple[str, str, str, str, str, str]], event: str) -> Stored:
    """The delivery whose JSON is `text`, with `flat` as its attributes have its evidence.

    Of these each is kind, hash, at, source, strength, namespace. Raises ValueError, KeyError or
    TypeError if this is nothing the agent has written.
    """
    told = _parsed(text)
    pieces = told.get("evidence", [])
    if not any("hash" in piece for piece in pieces):
        more = {piece["kind"]: piece for piece in pieces}
        names = ("kind", "hash", "at", "source", "strength", "namespace")
        pieces = [dict(zip(names, one, strict=True)) | more.get(one[0], {}) for one in flat]
        if not more.keys() <= {piece["kind"] for piece in pieces}:
            raise ValueError("evidence is missing")
    # Of each kind there is one, or they stand in their order: whose connection it was is first.
    pieces.sort(key=lambda piece: piece["kind"] != "connection")
    own = None if event == OTHER else "" if event == NONE else event
    second = told.get("named", "")
    answers = tuple(
        (str(name), str(where), bool(it)) for name, where, it in told.get("answers", ())
    )
    return Stored(
        tuple(map(_evidence, pieces)),
        (own, None if second == OTHER else second) if second else (own,),
        Inputs(own or "", answers, second),
    )


def read_tables(text: str) -> tuple[PolicyTable, ...]:
    """The policies that `write_tables` has written. Raises as `read` does."""
    lists = ("events", "users")
    return tuple(
        PolicyTable(
            **{
                "reason": "",
                **table,
                **{key: tuple(table[key]) for key in lists if key in table},
            }
        )
        for table in _parsed(text)
    )


def hash_of(who: Principal) -> str:
    """The hash a span has of somebody whom `read` has read."""
    return who.user.removeprefix(_MARK) if who.tenant is None else who.tenant


def plain_hash(user: str) -> str:
    """The hash that stands for somebody among the users of a table, as `hashed` makes them."""
    return user.removeprefix(_MARK)


def _mark(text: str) -> str:
    return text if text.startswith(_MARK) else f"{_MARK}{text}"


def _evidence(piece: dict[str, Any]) -> Evidence:
    return Evidence(
        piece["kind"],
        _principal(piece),
        piece["at"],
        piece["source"],
        piece["strength"],
        not piece.get("silent"),
        tuple(map(_principal, piece.get("aliases", ()))),
    )


def _principal(piece: dict[str, Any]) -> Principal:
    kind, _, shape = piece["namespace"].partition(":")
    if not (piece["hash"] and kind and shape):
        raise ValueError("nobody")
    # What is compared are users, and tenants only of one and the same: so are these.
    known = piece.get("user")
    tenant = None if known is None else piece["hash"]
    return Principal(tenant, _mark(known or piece["hash"]), kind, shape)
