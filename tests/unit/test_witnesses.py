# SPDX-License-Identifier: Apache-2.0
"""Runs, tasks, canaries and thread ids from the application's own calls to the verdict."""

from __future__ import annotations

import asyncio
import contextvars
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.outputs.spans import SpanMaker

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS = Path(__file__).parent / "canary_tokens.json"
ONE = json.loads(TOKENS.read_text())["canary-1"]


class User:
    def __init__(self, id: str) -> None:  # noqa: A002
        self.id = id


class Hub:
    async def connect(self, websocket: Socket, user_id: str, thread_id: str = "") -> None: ...

    async def send_to_user(self, user_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_progress(self, user_id: str, run_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_raw(self, message: Any, over: Socket, run_id: str = "") -> None:
        await over.send_text(json.dumps(message))

    async def send_bytes_raw(self, message: Any, over: Socket) -> None:
        await over.send_bytes(message)

    async def send_in_room(self, room: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def broadcast(self, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


class Emitter:
    def __init__(self, user_id: str) -> None:
        self.user_id = user_id

    async def emit(self, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent(canary_tokens_file=str(TOKENS)) as made:
        made.patch(Hub, Emitter)
        yield made


class Scene:
    """Ann, Bob and others, connected; the test plays the application inside Ann's handler."""

    def __init__(self, audited: Agent) -> None:
        self.audited = audited
        self.hub = Hub()

    def play(self, act: Any, *, inbound: tuple[Any, ...] = ()) -> list[str]:
        """Run `act(ann, bob, eve)` in Ann's connection while the others are open; the verdicts."""
        people = [Socket(User(name)) for name in ("ann", "bob", "eve")]
        people[0].incoming = [self.message(one) for one in inbound]
        return self.run(act, people)

    @staticmethod
    def message(content: Any) -> dict[str, Any]:
        return {"type": "websocket.receive", "text": json.dumps(content)}

    def run(self, act: Any, people: list[Socket]) -> list[str]:
        before = len(self.audited.frames())

        async def main() -> None:
            opened, done = [], asyncio.Event()
            all_open = asyncio.Event()

            async def handler(one: Socket) -> None:
                await one.accept()
                opened.append(one)
                if len(opened) == len(people):
                    all_open.set()
                await all_open.wait()
                if one is people[0]:
                    try:
                        await act(*people)
                    finally:
                        done.set()
                await done.wait()

            await asyncio.gather(*(self.audited.run(handler, one) for one in people))

        asyncio.run(main())
        return self.audited.verdicts()[before:]


@pytest.fixture
def scene(audited: Agent) -> Scene:
    return Scene(audited)


RUN = {"type": "step", "run_id": "r-1"}
TALK = {"type": "note", "conversation_id": "c-1"}
PROBABLE, SUSPECTED = "resource_vs_connection:probable", "resource_vs_connection:suspected"
CONTEXT = "context_vs_connection:suspected"
NOTHING = "unattributed:no_evidence"


# --- whose run it is ------------------------------------------------------------------------------


def test_a_run_somebody_was_named_for(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_raw(RUN, ann)
        await scene.hub.send_raw(RUN, bob)
        await scene.hub.send_to_user("bob", RUN, bob)

    assert scene.play(act) == ["match", "match", PROBABLE, PROBABLE]


def test_a_run_of_an_instance(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await Emitter("ann").emit(RUN, ann)
        await scene.hub.send_raw({"data": {"run_id": "r-1"}}, bob)

    assert scene.play(act) == ["match", PROBABLE]


def test_a_run_the_call_names_and_the_message_does_not(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_progress("ann", "r-1", {"x": 1}, ann)
        await scene.hub.send_raw({"x": 1}, bob, run_id="r-1")
        await scene.hub.send_raw({"x": 1}, bob, run_id="r-2")

    assert scene.play(act) == ["match", PROBABLE, CONTEXT]


def test_together_with_a_strong_dissent_it_is_certain(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_raw({**RUN, "user_id": "ann"}, bob)

    assert scene.play(act) == ["match", "payload_vs_connection:confirmed"]


def test_a_delivery_that_went_wrong_teaches_nothing(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, bob)
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_raw(RUN, bob)

    assert scene.play(act) == ["argument_vs_connection:probable", "match", PROBABLE]


def test_one_whose_content_is_somebody_elses_teaches_nothing(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", {**RUN, "user_id": "bob"}, ann)
        await scene.hub.send_in_room("lobby", RUN, bob)

    assert scene.play(act) == ["payload_vs_connection:probable", NOTHING]


def test_nothing_is_learned_of_a_user_who_is_only_claimed(scene: Scene) -> None:
    people = [Socket(path_params={"user_id": "ann"}), Socket(User("bob"))]

    async def act(ann: Socket, bob: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_raw(RUN, bob)

    assert scene.run(act, people) == ["match", NOTHING]


def test_in_a_room_or_broadcast_it_is_a_suspicion(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_in_room("lobby", RUN, bob)
        await scene.hub.broadcast(RUN, bob)
        await scene.hub.broadcast(RUN, ann)

    assert scene.play(act) == ["match", SUSPECTED, SUSPECTED, "match"]


@pytest.mark.parametrize(
    "more",
    [{"sender_id": "ann"}, {"mentions": ["bob"]}, {"data": {"mentions": [{"user_id": "bob"}]}}],
    ids=["spoken", "mentioned", "mentioned below"],
)
def test_people_who_talk(scene: Scene, more: dict[str, Any]) -> None:
    async def act(ann: Socket, bob: Socket, eve: Socket) -> None:
        await scene.hub.send_to_user("ann", TALK, ann)
        await scene.hub.send_to_user("bob", {**TALK, **more}, bob)
        await scene.hub.send_raw({**TALK, **more}, bob)

    assert scene.play(act) == ["match", "match", NOTHING]


def test_somebody_elses_mention_is_no_excuse(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", TALK, ann)
        await scene.hub.send_raw({**TALK, "mentions": ["eve"]}, bob)

    assert scene.play(act) == ["match", PROBABLE]


def test_what_a_client_names_is_a_suspicion(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await ann.receive()
        await scene.hub.broadcast({"type": "else"}, ann)
        await scene.hub.send_in_room("lobby", RUN, bob)

    told = scene.play(act, inbound=({"type": "go", "run_id": "r-1"},))
    assert told == ["unattributed:undeclared_broadcast", SUSPECTED]


def test_what_a_connection_is_registered_with_is_the_clients_word(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.connect(ann, "ann", thread_id="t-1")
        await scene.hub.send_to_user("ann", {"thread_id": "t-1"}, ann)
        await scene.hub.send_raw({"thread_id": "t-1"}, bob)

    assert scene.play(act) == ["match", SUSPECTED]


def test_a_client_that_only_claims_to_be_somebody_owns_nothing(scene: Scene) -> None:
    liar = Socket(path_params={"user_id": "eve"})
    liar.incoming = [scene.message(RUN)]

    async def act(liar: Socket, ann: Socket) -> None:
        await liar.receive()
        await scene.hub.send_in_room("lobby", RUN, ann)

    assert scene.run(act, [liar, Socket(User("ann"))]) == [NOTHING]


def test_the_settings_say_which_fields() -> None:
    with agent(payload_resources=("data.ticket_id",), payload_mention=("user_id",)) as made:
        made.patch(Hub)
        scene = Scene(made)

        async def act(ann: Socket, bob: Socket, _: Socket) -> None:
            await scene.hub.send_to_user("ann", {"data": {"ticket_id": 7}, "run_id": "r-1"}, ann)
            await scene.hub.send_in_room("lobby", {"run_id": "r-1"}, bob)
            await scene.hub.send_in_room("lobby", {"data": {"ticket_id": 7}}, bob)
            await scene.hub.send_raw({"user_id": "ann"}, bob)  # a mention, and nobody's message

        assert scene.play(act) == ["match", NOTHING, SUSPECTED, CONTEXT]


# --- for whom the task runs -----------------------------------------------------------------------


def test_one_users_task_and_another_ones_connection(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await bob.send_text("{}")
        await bob.send_text("opaque")
        await scene.hub.send_raw({}, bob)

    assert scene.play(act) == [CONTEXT, CONTEXT, CONTEXT]


def test_to_oneself_it_proves_nothing(scene: Scene) -> None:
    async def act(ann: Socket, *_: Socket) -> None:
        await ann.send_text("{}")

    assert scene.play(act) == [NOTHING]


def test_a_direct_message_with_its_recipient_is_a_match(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("bob", {"type": "dm", "text": "hi"}, bob)
        await bob.send_text(json.dumps({"type": "dm", "recipient_id": "bob"}))

    assert scene.play(act) == ["match", "match"]


@pytest.mark.parametrize("more", [{"from": "ann"}, {"author": "Ann A."}, {"mentions": ["bob"]}])
def test_one_who_speaks_to_another_is_none(scene: Scene, more: dict[str, Any]) -> None:
    async def act(_: Socket, bob: Socket, __: Socket) -> None:
        await bob.send_text(json.dumps({"type": "dm", "text": "hi", **more}))

    assert scene.play(act) == [NOTHING]


def test_broadcasts_and_rooms_are_none(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, eve: Socket) -> None:
        for one in (bob, eve, ann):
            await scene.hub.broadcast({}, one)
            await scene.hub.send_in_room("lobby", {}, one)

    assert CONTEXT not in scene.play(act)


def test_a_task_that_hands_messages_round_says_nothing_any_more(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, eve: Socket) -> None:
        await ann.receive()
        for one in (ann, bob, eve):
            await one.send_text("{}")
        await ann.receive()  # the next message of the same connection
        for one in (bob, eve, ann):
            await one.send_text("{}")

    assert scene.play(act, inbound=({"x": 1}, {"x": 2})) == [NOTHING] * 6


def test_the_first_to_get_it_may_be_suspected_once(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, eve: Socket) -> None:
        for _ in range(2):
            for one in (bob, eve, ann):
                await one.send_text("{}")

    assert scene.play(act) == [CONTEXT] + [NOTHING] * 5


def test_each_message_is_looked_at_anew(scene: Scene) -> None:
    """A welcome to oneself does not hide where the answers go."""

    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await ann.send_text("{}")
        await ann.receive()
        await bob.send_text("{}")

    assert scene.play(act, inbound=({"x": 1},)) == [NOTHING, CONTEXT]


def test_several_devices_are_one_recipient(scene: Scene) -> None:
    people = [Socket(User("ann")), Socket(User("bob")), Socket(User("bob"))]

    async def act(_: Socket, phone: Socket, desk: Socket) -> None:
        await phone.send_text("{}")
        await desk.send_text("{}")

    assert scene.run(act, people) == [CONTEXT, CONTEXT]


def test_child_tasks_and_threads_run_for_the_same_user(scene: Scene) -> None:
    async def act(_: Socket, bob: Socket, __: Socket) -> None:
        await asyncio.create_task(bob.send_text("{}"))

    assert scene.play(act) == [CONTEXT]


def test_a_queue_takes_it_along(scene: Scene) -> None:
    """The call is Ann's, the delivery comes from a worker that serves nobody."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    class QueueHub:
        async def send_later(self, message: Any) -> None:
            queue.put_nowait(message)

    scene.audited.patch(QueueHub, send_later="send")
    hub = QueueHub()

    async def act(_: Socket, bob: Socket, __: Socket) -> None:
        async def work() -> None:
            text = await queue.get()
            await bob.send_text(text)

        worker = contextvars.Context().run(asyncio.create_task, work())
        await hub.send_later(json.dumps({"text": "x" * 40}))
        await worker

    assert scene.play(act) == [CONTEXT]


def test_no_connection_inherits_the_one_before(scene: Scene) -> None:
    """As a server does that runs the next connection, or request, in the first one's context."""
    ann, bob = Socket(User("ann")), Socket(User("bob"))

    async def act(one: Socket) -> None:
        await one.accept()
        if one is ann:
            context = contextvars.copy_context()
            other = asyncio.get_running_loop().create_task(
                scene.audited.run(act, bob), **_in(context)
            )
            await other
        else:
            await one.send_text("{}")

    scene.audited.serve(act, ann)
    assert scene.audited.verdicts() == [NOTHING]


def _in(context: contextvars.Context) -> dict[str, Any]:
    return {"context": context} if hasattr(asyncio, "TaskGroup") else {}


def test_a_request_over_http_serves_nobody_we_know(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        async def request(scope: Any, receive: Any, send: Any) -> None:
            await bob.send_text("{}")

        await scene.audited.runtime.take(request)(
            {"type": "http"}, ann.server_receive, ann.server_send
        )

    assert scene.play(act) == [NOTHING]


def test_after_the_connection_its_task_serves_nobody(scene: Scene) -> None:
    async def main() -> None:
        ann, bob = Socket(User("ann")), Socket(User("bob"))

        async def late(one: Socket) -> None:
            await scene.audited.run(Socket.accept, ann)
            await one.send_text("{}")

        await scene.audited.run(late, bob)

    asyncio.run(main())
    assert scene.audited.verdicts() == [NOTHING]


# --- canaries -------------------------------------------------------------------------------------


def test_a_token_on_somebody_elses_connection(scene: Scene) -> None:
    people = [Socket(User("canary-1")), Socket(User("ann")), Socket(path_params={"user_id": "eve"})]

    async def act(own: Socket, ann: Socket, eve: Socket) -> None:
        await scene.hub.send_to_user("canary-1", {"text": ONE}, own)
        await scene.hub.send_to_user("ann", {"text": f"so {ONE}", "user_id": "ann"}, ann)
        await scene.hub.send_to_user("ann", {"text": ONE, "from": "ann"}, ann)  # Ann's own words?
        await scene.hub.broadcast({"text": ONE}, ann)
        await eve.send_text(f"not json {ONE}")
        await eve.send_bytes(b"\x00\xff" + ONE.encode())

    assert scene.run(act, people) == ["match"] + ["canary:confirmed"] * 5
    for one in scene.audited.frames()[1:]:
        assert ONE not in repr(one)
        span = SpanMaker(lambda who: f"hash of {who.user}" if who else "", "s", "v")  # type: ignore[arg-type]
        made = span.violation(one, span.finding(one), outcome=True)
        assert ONE not in repr(made)
        assert made.attributes["ws_audit.owner.hash"] == "hash of canary-1"
        assert made.attributes["ws_audit.evidence.canary.hash"] == "hash of canary-1"
        assert made.attributes["ws_audit.evidence.canary.at"] == "content"
        assert made.attributes["ws_audit.evidence.canary.source"] == "token"
        assert made.attributes["ws_audit.evidence.canary.strength"] == "strong"
    page = scene.audited.page()
    assert page["ws_audit_violations_total{tests.unit.test_witnesses:Hub,canary,confirmed,false}"]


def test_without_a_file_nothing_is_searched() -> None:
    with agent() as made:
        assert made.runtime.sink._witnesses.canaries is None


def test_a_file_that_has_gone_is_said(tmp_path: Path) -> None:
    with agent(canary_tokens_file=str(tmp_path / "gone.json")) as made:
        (line,) = made.said
        assert "canary.tokens_file" in line


# --- ids of threads that stand for users ----------------------------------------------------------


def test_a_thread_that_stands_for_a_user(scene: Scene) -> None:
    people = [Socket(User("t-1")), Socket(User("ann"))]

    async def act(one: Socket, ann: Socket) -> None:
        await scene.hub.send_to_user("t-1", {"thread_id": "t-1"}, one)
        await scene.hub.send_to_user("t-1", {"thread_id": "t-1"}, one)
        await scene.hub.send_to_user("ann", {"thread_id": "t-2"}, ann)
        await scene.hub.send_to_user("t-2", {}, ann)
        await scene.hub.send_to_user("ann", {"user_id": "ann"}, ann)

    assert scene.run(act, people) == [
        "match",  # so far nobody knows that it is a thread's
        "thread_as_user:hygiene",
        "match",
        "argument_vs_connection:probable",
        "match",
    ]
    told = scene.audited.frames()[3].evidence
    assert [one.source for one in told if one.name == "thread_as_user"] == [
        "argument:send_to_user.user_id"
    ]


def test_a_thread_the_message_calls_its_user_is_no_users(scene: Scene) -> None:
    people = [Socket(User("ann")), Socket(User("auth0|x"))]

    async def act(ann: Socket, other: Socket) -> None:
        await scene.hub.send_to_user("ann", {"thread_id": "t-1"}, ann)
        await scene.hub.send_raw({"user_id": "t-1"}, other)
        await scene.hub.send_to_user("t-1", {}, other)

    assert scene.run(act, people) == [
        "match",
        "unattributed:incomparable",
        "thread_as_user:hygiene",
    ]


def test_what_only_a_client_calls_a_thread_is_none(scene: Scene) -> None:
    async def act(ann: Socket, *_: Socket) -> None:
        await ann.receive()
        await scene.hub.send_to_user("ann", {}, ann)

    assert scene.play(act, inbound=({"thread_id": "ann-1"}, {"thread_id": "ann"})) == ["match"]


# --- how the evidence leaves ----------------------------------------------------------------------


def test_a_run_and_a_task_in_the_span(scene: Scene) -> None:
    async def act(ann: Socket, bob: Socket, _: Socket) -> None:
        await scene.hub.send_to_user("ann", RUN, ann)
        await scene.hub.send_raw(RUN, bob)
        await bob.send_text("{}")

    scene.play(act)
    maker = SpanMaker(lambda who: f"hash of {who.user}" if who else "", "s", "v")  # type: ignore[arg-type]
    run, task = [
        maker.violation(one, maker.finding(one), outcome=True).attributes
        for one in scene.audited.frames()[1:]
    ]
    for attributes, kind, strength, source in (
        (run, "resource", "medium", "run_id"),
        (task, "context", "weak", "task"),
    ):
        prefix = f"ws_audit.evidence.{kind}"
        assert attributes[f"{prefix}.hash"] == "hash of ann"
        assert attributes[f"{prefix}.at"] == "call"
        assert attributes[f"{prefix}.strength"] == strength
        assert attributes[f"{prefix}.source"] == source
        assert attributes["security_rule.name"] == f"{kind}_vs_connection"
        assert attributes["user.hash"] == "hash of bob"
        assert attributes["ws_audit.owner.hash"] == "hash of ann"
    assert run["ws_audit.evidence.context.hash"] == "hash of ann"  # the others are attributes
    assert "r-1" not in repr((run, task))
