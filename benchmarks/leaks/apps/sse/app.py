# SPDX-License-Identifier: Apache-2.0
"""Notes and assistant service. Everything that moves is sent as server-sent events."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sse_starlette.sse import EventSourceResponse

from accounts import User, by_email, current_user
from assistant import Assistant, EchoModel, Question, QuickAnswers, SummaryBatcher, Threads
from broker import Broker, Notifiers, inbox
from work import BOARDS, Board, Digests, Job, Jobs, members

broker = Broker()
notifiers = Notifiers(broker)
model = EchoModel()
assistant = Assistant(model)
threads = Threads()
quick = QuickAnswers()
batcher = SummaryBatcher(model)
jobs = Jobs(broker)
digests = Digests(broker, quick.notes)

Me = Annotated[User, Depends(current_user)]


@asynccontextmanager
async def lifespan(app: FastAPI):
    worker = asyncio.create_task(jobs.run())
    yield
    worker.cancel()


app = FastAPI(title="Notes", lifespan=lifespan)


def sse(events) -> StreamingResponse:
    async def lines():
        async for event in events:
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


class Ask(BaseModel):
    text: str
    thread_id: str | None = None
    review: bool = False


class Text(BaseModel):
    text: str


class Export(BaseModel):
    title: str
    subject: str | None = None


class Task(BaseModel):
    assignee: str
    title: str


class NewBoard(BaseModel):
    name: str
    members: list[str]


class Widget(BaseModel):
    label: str
    value: int


# -- assistant -----------------------------------------------------------------------------------


@app.post("/ask")
async def ask(body: Ask, me: Me):
    thread = threads.owned(body.thread_id, me) if body.thread_id else threads.create(me)
    return sse(assistant.answer(Question(body.text, thread, body.review)))


@app.post("/questions/{question_id}/approve")
async def approve(question_id: str, me: Me):
    question = assistant.open.get(question_id)
    if question is None or question.thread.owner != me.email:
        raise HTTPException(404, "no such question")
    question.approved.set()
    return {"ok": True}


@app.get("/threads/{thread_id}/stream")
async def thread_stream(thread_id: str, me: Me):
    thread = threads.get(thread_id)
    if thread.owner != me.email:
        raise HTTPException(404, "no such thread")

    async def events():
        shown = len(thread.messages)
        yield {"type": "thread", "thread_id": thread.id, "messages": thread.messages[:shown]}
        while True:
            await asyncio.sleep(0.05)
            for message in thread.messages[shown:]:
                yield {"type": "thread.message", "thread_id": thread.id, "text": message}
                shown += 1

    return sse(events())


@app.get("/quick")
async def quick_answer(q: str, me: Me):
    async def events():
        yield {"type": "quick.thinking"}
        yield {"type": "quick.answer", "text": quick.answer(me, q)}

    return sse(events())


@app.post("/summary")
async def summary(body: Text, me: Me):
    async def events():
        coming = asyncio.ensure_future(batcher.summarise(body.text))
        await asyncio.sleep(0)
        yield {"type": "summary.queued"}
        yield {"type": "summary", "text": await coming}

    return sse(events())


# -- notes and notifications ---------------------------------------------------------------------


@app.post("/notes")
async def add_note(body: Text, me: Me):
    quick.add(me, body.text)
    notifiers.of(me).send("note.saved", author=me.email, text=body.text)
    return {"ok": True}


@app.post("/tasks")
async def assign(body: Task, me: Me):
    assignee = by_email(body.assignee)
    notifiers.of(assignee).send("task", user=body.assignee, author=me.email, title=body.title)
    return {"ok": True}


@app.get("/notifications")
async def notifications(me: Me, last_event_id: Annotated[int | None, Header()] = None):
    subscription = broker.subscribe(inbox(me.email), last_event_id)
    return EventSourceResponse(broker.listen(subscription))


# -- jobs ----------------------------------------------------------------------------------------


@app.post("/exports")
async def export(body: Export, me: Me):
    subject = me.email
    if body.subject is not None:
        if not me.is_staff:
            raise HTTPException(403, "staff only")
        subject = by_email(body.subject).email
    job = Job(me.email, me.tenant, subject, body.title)
    jobs.start(job)
    return {"job_id": job.id}


@app.get("/jobs/{job_id}/events")
async def job_events(job_id: str, me: Me):
    job = jobs.all.get(job_id)
    if job is None or job.started_by != me.email:
        raise HTTPException(404, "no such job")
    return EventSourceResponse(broker.listen(broker.subscribe(job.channel, 0)))


@app.post("/digests")
async def run_digests(me: Me):
    if not me.is_staff:
        raise HTTPException(403, "staff only")
    return {"sent": await digests.run(me.tenant)}


@app.post("/team-activity")
async def team_activity(me: Me):
    digests.team(me.tenant)
    return {"ok": True}


# -- boards --------------------------------------------------------------------------------------


@app.post("/boards")
async def create_board(body: NewBoard, me: Me):
    board = Board(me.email, body.name, {me.email, *(by_email(one).email for one in body.members)})
    BOARDS[board.id] = board
    return {"board_id": board.id}


@app.get("/boards/{board_id}/stream")
async def board_stream(board_id: str, me: Me):
    if me.email not in members(board_id):
        raise HTTPException(404, "no such board")
    return EventSourceResponse(broker.listen(broker.subscribe(BOARDS[board_id].channel, 0)))


@app.post("/boards/{board_id}/widgets")
async def set_widget(board_id: str, body: Widget, me: Me):
    if me.email not in members(board_id):
        raise HTTPException(404, "no such board")
    board = BOARDS[board_id]
    broker.publish(
        board.channel,
        {
            "type": "board.widget",
            "board_id": board.id,
            "owner": board.owner,
            "author": me.email,
            "label": body.label,
            "value": body.value,
        },
    )
    return {"ok": True}
