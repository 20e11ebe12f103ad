# SPDX-License-Identifier: Apache-2.0
"""The agent's account held against the clients': deliveries, pairs and counts.

Why it exists: a demonstration that only shows what the agent found proves nothing. The clients
know from the content alone what they received, so wherever the two differ, one of them is wrong.

It must never be lenient: a difference is said in plain words, not averaged away.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .demo_stage import Stage

# Findings about connections and objects: no frame was delivered with them.
NO_DELIVERY = frozenset(
    {"rebound_connection", "inbound_vs_connection", "shared_instance", "shared_state"}
)

Pair = tuple[str, str]  # whose data, to whom


@dataclass(frozen=True)
class Account:
    """Both sides of one stage, in the same terms."""

    stage: Stage
    frames: int
    judged: int
    verdicts: dict[str, int]
    claimed: dict[Pair, int]  # what the agent says was delivered
    witnessed: dict[Pair, int]  # what the clients received
    disagreements: list[str]

    @property
    def incidents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stage.review["incidents"]

        return found

    @property
    def leaked(self) -> bool:
        return any(incident["severity"] != "hygiene" for incident in self.incidents)

    def pairs(self) -> list[Pair]:
        """Every pair of either side, the most frequent first."""
        both = self.claimed.keys() | self.witnessed.keys()

        return sorted(both, key=lambda pair: (-self.witnessed.get(pair, 0), pair))


def settle(stage: Stage, users: dict[str, str]) -> Account:
    """The account of a stage; `users` maps pseudonyms to the demo's own user ids."""
    totals = read_metrics(stage.metrics)
    verdicts = {
        verdict: totals["ws_audit_verdicts_total", verdict]
        for verdict in ("match", "violation", "excused", "unattributed")
    }
    judged = totals["ws_audit_frames_total", "true"]
    frames = judged + totals["ws_audit_frames_total", "false"]
    claimed = claims(stage.review, users)
    witnessed: Counter[Pair] = Counter()

    for leak in stage.clients["leaks"]:
        witnessed[leak["owner"], leak["recipient"]] += leak["count"]

    account = Account(stage, frames, judged, verdicts, claimed, dict(witnessed), [])
    account.disagreements.extend(ledger_differences(account))
    account.disagreements.extend(
        leak_differences(account) if stage.leak else clean_differences(account)
    )

    return account


def read_metrics(page: str) -> Counter[tuple[str, str]]:
    """The two sides of the ledger: totals by metric and by the one label that matters here."""
    from prometheus_client.parser import text_string_to_metric_families

    labels = {"ws_audit_verdicts_total": "verdict", "ws_audit_frames_total": "judged"}
    totals: Counter[tuple[str, str]] = Counter()

    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in labels:
                totals[sample.name, sample.labels[labels[sample.name]]] += int(sample.value)

    return totals


def claims(review: dict[str, Any], users: dict[str, str]) -> dict[Pair, int]:
    """Frames the agent says it saw delivered to somebody else, by pair."""
    claimed: Counter[Pair] = Counter()

    for incident in review["incidents"]:
        if incident["rule"] in NO_DELIVERY or incident["severity"] == "hygiene":
            continue

        for pair in incident["pairs"]:
            owner, recipient = pair["owner"], pair["recipient"]
            claimed[users.get(owner, owner), users.get(recipient, recipient)] += pair["events"]

    return dict(claimed)


def ledger_differences(account: Account) -> list[str]:
    said = []
    verdicts = sum(account.verdicts.values())
    received = account.stage.clients["frames"]

    if account.frames != verdicts:
        said.append(f"the agent counted {account.frames} frames but {verdicts} verdicts")

    if account.frames != received:
        said.append(f"the agent counted {account.frames} frames, the clients received {received}")

    if dropped := account.stage.review["coverage"]["dropped"]:
        said.append(f"the agent dropped {dropped} records")

    said += [f"the review says: {problem}" for problem in account.stage.review["problems"]]
    said += [f"a client failed: {error}" for error in account.stage.clients["errors"]]

    return said


def clean_differences(account: Account) -> list[str]:
    clients = account.stage.clients
    said = [
        f"no defect is on, yet the agent claims {incident['severity']} {incident['rule']}"
        for incident in account.incidents
        if incident["severity"] != "hygiene"
    ]

    if unjudged := account.frames - account.judged:
        said.append(f"{unjudged} frames were not judged, though each one names its owner")

    if account.witnessed:
        said.append(f"no defect is on, yet the clients saw {sum(account.witnessed.values())} leaks")

    if clients["runs_complete"] != clients["runs"]:
        said.append(f"only {clients['runs_complete']} of {clients['runs']} runs were complete")

    return said


def leak_differences(account: Account) -> list[str]:
    if not account.witnessed:
        return ["the defect is on, yet no client received anybody else's data"]

    if not account.claimed:
        return [f"the agent missed the leak: {sum(account.witnessed.values())} frames of it"]

    return [
        f"{owner} -> {recipient}: the agent says {claimed}, the clients received {witnessed}"
        for owner, recipient in account.pairs()
        if (claimed := account.claimed.get((owner, recipient), 0))
        != (witnessed := account.witnessed.get((owner, recipient), 0))
    ]
