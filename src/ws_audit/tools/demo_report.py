# SPDX-License-Identifier: Apache-2.0
"""What a demonstration shows: the same account for people and for programs.

Why it exists: whoever runs the demo wants to see within seconds what was sent, what was judged,
whose data reached whom, which line sent it, and that the clients saw the same.

It must never show a token, and no result without the share of traffic it rests on.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .demo_cast import Cast
    from .demo_verdict import Account

PAIRS_SHOWN = 8
DIFFERENCES_SHOWN = 10


def text(account: Account, description: str, cast: Cast) -> str:
    return "\n".join(lines(account, description, cast)) + "\n"


def lines(account: Account, description: str, cast: Cast) -> Iterator[str]:
    clients, stage = account.stage.clients, account.stage
    verdicts = "   ".join(f"{name} {count}" for name, count in account.verdicts.items())
    foreign = sum(account.witnessed.values())

    yield f"{stage.leak or 'clean'}: {description}"
    yield f"  agent    {account.frames} deliveries   {verdicts}   judged {share(account)}"
    yield (
        f"  clients  {clients['frames']} frames   {foreign} with somebody else's data   "
        f"{clients['runs_complete']} of {clients['runs']} runs complete"
    )

    yield from incident_lines(account)
    yield from pair_lines(account, cast)

    yield f"  metrics  {stage.metrics_url} (gone; kept in {stage.store.parent / 'metrics.txt'})"
    yield f"  store    {stage.store}"
    yield f"  review   {review_command(account)}"

    for difference in account.disagreements[:DIFFERENCES_SHOWN]:
        yield f"  WRONG    {difference}"

    if unshown := account.disagreements[DIFFERENCES_SHOWN:]:
        yield f"  WRONG    and {len(unshown)} more differences"

    if not account.disagreements:
        yield "  agreed   agent and clients say the same"


def incident_lines(account: Account) -> Iterator[str]:
    for incident in account.incidents:
        yield (
            f"  found    {incident['severity']} {incident['rule']}: {incident['events']} frames, "
            f"{len(incident['pairs'])} pairs"
        )

        for site in incident["sites"]:
            yield f"           at {site}"


def pair_lines(account: Account, cast: Cast) -> Iterator[str]:
    pairs = account.pairs()

    if not pairs:
        return

    # The pseudonym's first digits lead from a name here to the hash in metrics, store and review.
    shown = {user: f"{name_of(user)} ({cast.hash_of(user)[:6]})" for user in cast.tokens.values()}
    rows = [("whose data", "to whom", "agent", "clients")]
    rows += [
        (
            shown.get(owner, owner[:12]),
            shown.get(recipient, recipient[:12]),
            str(account.claimed.get((owner, recipient), 0)),
            str(account.witnessed.get((owner, recipient), 0)),
        )
        for owner, recipient in pairs[:PAIRS_SHOWN]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    for owner, recipient, claimed, witnessed in rows:
        yield (
            f"           {owner:<{widths[0]}}  {recipient:<{widths[1]}}  "
            f"{claimed:>{widths[2]}}  {witnessed:>{widths[3]}}"
        )

    if rest := pairs[PAIRS_SHOWN:]:
        claimed_rest = sum(account.claimed.get(pair, 0) for pair in rest)
        witnessed_rest = sum(account.witnessed.get(pair, 0) for pair in rest)
        yield (
            f"           and {len(rest)} more pairs: {claimed_rest} frames by the agent, "
            f"{witnessed_rest} by the clients"
        )


def conclusion(accounts: list[Account]) -> str:
    wrong = [account.stage.leak or "clean" for account in accounts if account.disagreements]

    if wrong:
        return f"Agent and clients disagree: {', '.join(wrong)}."

    leaks = Counter(account.leaked for account in accounts)[True]

    if leaks:
        return f"{leaks} of {len(accounts)} seeded leaks found, pair for pair as the clients saw."

    return "Every user received only their own data."


def document(accounts: list[Account], cast: Cast, code: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "exit": code,
        "conclusion": conclusion(accounts),
        "users": cast.users_by_hash(),
        "stages": [entry(account) for account in accounts],
    }


def entry(account: Account) -> dict[str, Any]:
    return {
        "leak": account.stage.leak or None,
        "deliveries": account.frames,
        "judged": account.judged,
        "verdicts": account.verdicts,
        "coverage": account.stage.review["coverage"],
        "incidents": account.incidents,
        "pairs": [
            {
                "owner": owner,
                "recipient": recipient,
                "agent": account.claimed.get((owner, recipient), 0),
                "clients": account.witnessed.get((owner, recipient), 0),
            }
            for owner, recipient in account.pairs()
        ],
        "clients": account.stage.clients,
        "disagreements": account.disagreements,
        "metrics_url": account.stage.metrics_url,
        "store": str(account.stage.store),
        "review": review_command(account),
    }


def share(account: Account) -> str:
    return f"{100 * account.judged / account.frames:.1f} %" if account.frames else "none"


def review_command(account: Account) -> str:
    return shlex.join(["ws-audit", "review", str(account.stage.store)])


def name_of(user: str) -> str:
    return user.rpartition("-")[0] or user
