"""Each reason for which a message can't be judged, and that the proposed line settles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.doctor.stage import Ended, serve

if TYPE_CHECKING:
    from pathlib import Path

PATHS = [
    f"/{what}/{name}"
    for what in (
        "manager",
        "crowd",
        "scoped",
        "field",
        "person",
        "desk",
        "namespaces",
        "large",
        "plain",
    )
    for name in ("ann", "bob")
]
LIMIT = "limits.payload_bytes = 2000\n"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The backend as it is."""
    folder = tmp_path_factory.mktemp("before")
    (folder / "given.toml").write_text(LIMIT)
    return serve(folder, PATHS, WS_AUDIT_CONFIG="given.toml")


@pytest.fixture(scope="module")
def after(before: Ended, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same with the lines the doctor proposed, and nothing else."""
    folder = tmp_path_factory.mktemp("after")
    (folder / "proposed.toml").write_text(before.report["toml"])
    return serve(folder, PATHS, WS_AUDIT_CONFIG="proposed.toml")


def row(ended: Ended, event: str, reason: str) -> dict[str, Any]:
    (found,) = (
        one for one in ended.report["unjudged"] if (one["event"], one["reason"]) == (event, reason)
    )
    return dict(found)


# event, reason, line of code, and what settles it
KINDS = {
    "manager": ("note", "no_principal", "by_manager", 'recipient = "member_ref"'),
    "scoped": ("parcel", "no_principal", "echo", '"scope.passport.holder"'),
    "person": ("greeting", "no_principal", "echo", '"dependency:visitor.badge"'),
    "desk": ("file", "no_evidence", "by_desk", 'recipient = "reader_ref"'),
    "field": ("letter", "no_evidence", "echo", 'payload.owner = ["user_id", "for_whom"]'),
    "namespaces": ("mixed", "incomparable", "echo", '"reader"'),
    "large": ("large", "limit", "echo", "limits.payload_bytes = 8000"),
}


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_is_counted_with_its_line_and_settled(what: str, before: Ended) -> None:
    event, reason, function, line = KINDS[what]
    if what == "large":
        event = "none"  # what is too large is not read at all
    found = row(before, event, reason)
    assert found["count"] == 8
    assert f":{function}:" in found["site"]
    assert line in found["toml"], found


def test_the_lines_together_settle_everything_that_can_be(before: Ended, after: Ended) -> None:
    process = after.process
    assert process["problems"] == []
    assert before.process["verdicts"] == {"unattributed": 72}
    # 8 broadcasts that only a person can declare, 8 plain texts: said to have no line.
    assert process["unattributed"] == {"undeclared_broadcast": 8, "opaque_payload": 8}
    assert process["verdicts"] == {"match": 56, "unattributed": 16}
    assert process["violations"] == {}


def test_a_broadcast_is_proposed_as_a_policy_and_settled_by_it(
    before: Ended, after: Ended, tmp_path: Path
) -> None:
    broadcast = row(after, "tide", "undeclared_broadcast")
    assert "If everybody it goes to may see" in broadcast["advice"]
    both = tmp_path / "both.toml"
    both.write_text(f"{before.report['toml']}\n{broadcast['toml']}\n")
    again = serve(tmp_path, ["/crowd/ann"], frames=2, WS_AUDIT_CONFIG=str(both))
    assert again.process["problems"] == []
    assert again.process["verdicts"] == {"excused": 2}
    (policy,) = again.process["policies"]
    assert policy["excused"] == 2


def test_what_has_no_line_says_so(after: Ended) -> None:
    plain = row(after, "none", "opaque_payload")
    assert plain["toml"] == ""
    assert "JSON" in plain["advice"]


def test_unjudged_traffic_is_a_problem(before: Ended, after: Ended) -> None:
    for ended, share in ((before, "100.0%"), (after, "22.2%")):
        assert ended.code == 1
        found = ended.finding("unjudged")
        assert found is not None
        assert found["level"] == "problem"
        assert share in found["title"]


def test_no_name_is_told_that_stands_in_no_code(before: Ended) -> None:
    letter = row(before, "letter", "no_evidence")
    assert letter["hidden_places"] > 0  # the keys of a dict of scores
    for secret in ("secret_ann", "secret_bob", '"ann"', '"bob"'):
        assert secret not in before.out


def test_only_what_agreed_is_proposed(before: Ended) -> None:
    places = {one["path"]: one for one in row(before, "letter", "no_evidence")["places"]}
    assert places["shelf"]["seen"] == 8
    assert places["shelf"]["agreed"] == 0
    assert places["for_whom"]["agreed"] == 8
