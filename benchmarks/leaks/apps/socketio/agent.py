# SPDX-License-Identifier: Apache-2.0
"""Namespace /agent: questions to the model, streamed back as events of a run."""

import uuid

import socketio

import model
import users

runs = {}


def principal(session):
    """Whom a run belongs to."""
    return session["name"]


class AgentNamespace(socketio.AsyncNamespace):
    async def on_connect(self, sid, environ, auth):
        user = users.by_token((auth or {}).get("token"))
        if user is None:
            return False
        session = {"name": user["name"], "client": auth.get("client", "web")}
        await self.save_session(sid, session)
        await self.emit("ready", to=sid)

    async def on_ask(self, sid, data):
        session = await self.get_session(sid)
        run = {
            "run_id": uuid.uuid4().hex,
            "thread_id": data["thread_id"],
            "owner": principal(session),
            "prompt": data["text"],
            "events": [],
        }
        runs[run["run_id"]] = run
        self.server.start_background_task(self.answer, sid, run)

    async def answer(self, sid, run):
        await self.say(sid, run, "agent_started")
        await self.say(sid, run, "agent_thinking")
        text = await model.complete(run["prompt"])
        await self.say(sid, run, "agent_completed", text=text)

    async def say(self, sid, run, event, **more):
        body = {"run_id": run["run_id"], "thread_id": run["thread_id"], **more}
        run["events"].append((event, body))
        await self.emit(event, body, to=sid)

    async def on_resume(self, sid, data):
        """After a reconnect the client asks for what it has missed."""
        session = await self.get_session(sid)
        run = runs.get(data["run_id"])
        if run is None or run["owner"] != principal(session):
            await self.emit("failed", {"event": "resume", "detail": "unknown run"}, to=sid)
            return
        for event, body in run["events"]:
            await self.emit(event, body, to=sid)

    async def on_runs(self, sid, data=None):
        session = await self.get_session(sid)
        mine = [run for run in runs.values() if run["owner"] == principal(session)]
        listed = [{"run_id": run["run_id"], "prompt": run["prompt"]} for run in mine]
        await self.emit("runs", {"runs": listed}, to=sid)
