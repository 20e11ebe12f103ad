"""What a process says of itself, and what the doctor makes of it: each fact, and its absence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.stage import Ended, doctor, serve, surroundings

GOOD = """
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


class ChatManager:
    async def connect(self, websocket: WebSocket, user_id: str):
        await websocket.accept()

    async def send(self, websocket: WebSocket, message):
        await websocket.send_json(message)


manager = ChatManager()


@app.websocket("/{name}")
async def serve(websocket: WebSocket, name: str):
    await manager.connect(websocket, name)
    try:
        while True:
            await websocket.receive_text()
            await manager.send(websocket, {"type": "message", "user_id": name})
    except WebSocketDisconnect:
        pass
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The backend with everything that is told of, one message each."""
    return serve(
        tmp_path_factory.mktemp("odd"),
        ["/manager/ann"],
        frames=1,
        WS_AUDIT_EXCLUDE="nothing.*",
        WS_AUDIT_HASH_KEY="a secret key",
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """An application with which nothing is wrong, set up in full."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "app.py").write_text(GOOD)
    return serve(
        folder, ["/ann", "/bob"], app="app:app", frames=20, WS_AUDIT_TRACE_DIR=str(folder / "trace")
    )


def test_all_is_well(good: Ended) -> None:
    assert [one for one in good.report["findings"] if one["level"] == "problem"] == []
    assert good.code == 0
    assert good.report["ok"] is True
    assert good.process["verdicts"] == {"match": 40}
    assert good.report["unjudged"] == []
    assert good.process["outputs"]["hash_key"] == "trace directory"
    assert good.process["import_hook"] is True
    assert good.process["stage"] == 2


def test_the_same_is_left_in_the_trace_directory(good: Ended) -> None:
    trace = Path(good.process["outputs"]["store"])
    (state,) = trace.glob("state-*.json")
    assert state.stat().st_mode & 0o777 == 0o600
    again = doctor(trace.parent, "--format", "json", WS_AUDIT_TRACE_DIR=str(trace))
    assert again.code == 0
    assert again.process["verdicts"] == {"match": 40}
    assert again.process["state"] == "ended"
    assert "all is well" in doctor(trace.parent, WS_AUDIT_TRACE_DIR=str(trace)).out


def test_classes_and_methods_with_their_meaning(odd: Ended) -> None:
    classes = {one["class"]: one for one in odd.process["classes"]}
    told = classes["backend:ChatManager"]
    assert "sends" in told["reason"]
    methods = {one["name"]: one for one in told["methods"]}
    assert all(one["hooked"] for one in methods.values())
    assert {name: one["kind"] for name, one in methods.items()} == {
        "__init__": "create",
        "connect": "bind",
        "push_note": "send",
        "broadcast": "broadcast",
    }
    assert methods["push_note"]["payload"] == "body"
    assert methods["connect"]["socket"] == "websocket"
    assert [one["name"] for one in told["not_hooked"]] == ["leave"]
    hub = {one["name"]: one for one in classes["backend:ShadowHub"]["methods"]}
    assert hub["send"]["recipient"] == "user_id"


def test_factories_and_what_they_gave(odd: Ended) -> None:
    (factory,) = odd.process["factories"]
    assert factory["factory"] == "backend:make_chat_manager"
    assert factory["products"] == [{"product": "backend:ChatManager", "made": 0, "reused": 1}]


def test_near_misses_with_their_reason(odd: Ended) -> None:
    assert "no method that is called like a send" in odd.process["refused"]["backend:DeskManager"]
    # Nothing of modules without a file, which compiled libraries make (`_cython_...`).
    assert {name.partition(":")[0] for name in odd.process["refused"]} == {"backend"}
    found = odd.finding("near_misses")
    assert found is not None
    assert found["fix"] == "ws-audit doctor explain backend:DeskManager"


def test_an_instance_with_a_method_of_its_own(odd: Ended, good: Ended) -> None:
    assert odd.process["shadowed"] == [
        {"class": "backend:ShadowHub", "attribute": "send", "instances": 1}
    ]
    found = odd.finding("shadowed")
    assert found is not None
    assert "backend:ShadowHub.send" in found["title"]
    assert good.process["shadowed"] == []


def test_settings_with_their_origin_and_without_secrets(odd: Ended, good: Ended) -> None:
    settings = {one["key"]: one for one in odd.process["settings"]}
    assert settings["exclude"] == {
        "key": "exclude",
        "value": ["nothing.*"],
        "source": "environment variable WS_AUDIT_EXCLUDE",
    }
    assert settings["hash_key"]["value"] == "<hidden>"
    assert "a secret key" not in odd.out + odd.err
    assert settings["limits.cpu_share"]["source"] == "default"
    settings = {one["key"]: one for one in good.process["settings"]}
    assert settings["control_file"]["source"] == "derived from trace_dir"


def test_what_is_missing_from_the_promise(odd: Ended, good: Ended) -> None:
    found = odd.finding("no_store")
    assert found is not None
    assert found["level"] == "problem"
    assert "WS_AUDIT_TRACE_DIR=" in found["fix"]
    assert good.finding("no_store") is None
    assert odd.process["outputs"]["hash_key"] == "settings"
    assert odd.finding("hash_key") is None
    assert odd.finding("no_otlp") is not None


def test_transports(odd: Ended) -> None:
    hooked = {one["module"]: one["hooked"] for one in odd.process["transports"]}
    assert hooked["uvicorn.config"] is True
    assert hooked["starlette.websockets"] is True


def test_what_came_too_late(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(GOOD + "\nsend_now = manager.send\n")
    ended = serve(tmp_path, ["/ann"], app="late:app")
    found = ended.finding("too_late")
    assert found is not None
    assert "late:ChatManager.send was kept as a bound method in late.send_now" in found["text"]
    assert ended.code == 1


def test_switched_off_and_nothing_sent(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    (tmp_path / "off").write_text("off")
    ended = serve(tmp_path, ["/ann"], app="app:app", WS_AUDIT_CONTROL=str(tmp_path / "off"))
    found = ended.finding("switched_off")
    assert found is not None
    assert found["fix"] == f"echo on > {tmp_path / 'off'}"
    assert ended.code == 1


def test_a_self_test_that_fails(tmp_path: Path) -> None:
    blind = "from ws_audit.evidence.canaries import Canaries\nCanaries.search = lambda *_: None\n"
    slow = (  # to start, or it would be over before the first one
        "\nimport asyncio, contextlib\n"
        "@contextlib.asynccontextmanager\n"
        "async def lifespan(_):\n"
        "    await asyncio.sleep(1.5)\n"
        "    yield\n"
        "app.router.lifespan_context = lifespan\n"
    )
    (tmp_path / "app.py").write_text(blind + GOOD + slow)
    (tmp_path / "ws.toml").write_text("[selftest]\ninterval_seconds = 1\n")
    config = str(tmp_path / "ws.toml")
    ended = serve(tmp_path, ["/ann"], app="app:app", WS_AUDIT_CONFIG=config)
    found = ended.finding("selftest_failed")
    assert found is not None
    assert found["title"] == "The agent's own self-test fails at: judge"
    assert ended.finding("internal_errors") is None


def test_no_traffic_is_no_proof(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    ended = serve(tmp_path, [], app="app:app", WS_AUDIT_TRACE_DIR=str(tmp_path / "trace"))
    assert ended.code == 1
    assert [one["id"] for one in ended.report["findings"] if one["level"] == "problem"] == [
        "no_traffic"
    ]


def test_moved_internals_and_errors_of_the_agent(tmp_path: Path) -> None:
    break_them = (
        "import ws_audit.transports.starlette as ours\n"
        "import ws_audit.sink as sink\n"
        "def moved(*_): raise AttributeError\n"
        "ours.install = moved\n"
        "def fails(*_): raise KeyError\n"
        "sink.Sink.resolve = fails\n"
    )
    (tmp_path / "app.py").write_text(break_them + GOOD)
    ended = serve(tmp_path, ["/ann"], app="app:app")
    moved = ended.finding("transport_failed")
    assert moved is not None
    assert "starlette.websockets" in moved["title"]
    errors = ended.finding("internal_errors")
    assert errors is not None
    assert ended.process["unattributed"] == {"internal_error": 4}


def test_no_class_and_no_exemplars(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    (tmp_path / "prom").mkdir()
    ended = serve(
        tmp_path,
        ["/ann"],
        app="app:app",
        WS_AUDIT_EXCLUDE="app",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "prom"),
    )
    assert ended.finding("no_classes") is not None
    assert ended.finding("no_exemplars") is not None
    assert ended.process["classes"] == []


# --- processes that serve nothing, and other ends ------------------------------------------------


def test_a_process_that_only_imports_reports(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    ended = doctor(tmp_path, "--format", "json", "--", sys.executable, "-c", "import app")
    assert ended.code == 1
    assert ended.finding("not_serving") is not None
    assert [one["class"] for one in ended.process["classes"]] == ["app:ChatManager"]
    assert ended.process["stage"] == 1


def test_a_process_without_anything_of_interest_reports(tmp_path: Path) -> None:
    ended = doctor(
        tmp_path, "--format", "json", "--", sys.executable, "-c", "import wrapt; print('hello')"
    )
    assert ended.process["stage"] == 0
    assert "hello" in ended.err  # stdout is the report's


def test_a_command_without_the_agent_is_said(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--", "true")
    assert ended.code == 1
    assert "The agent was in no process" in ended.out


def test_a_command_that_fails_is_said(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--format", "json", "--", sys.executable, "-c", "raise SystemExit(7)")
    found = ended.finding("command_failed")
    assert found is not None
    assert "7" in found["title"]


def test_a_sigterm_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    ended = serve(tmp_path, ["/ann"], app="app:app", end=signal.SIGTERM)
    assert ended.process["verdicts"] == {"match": 4}
    assert ended.process["state"] == "ended"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--"], "no command"),
        (["--", "no-such-command-at-all"], "command not found"),
        (["exlain"], "explain"),
        (["explain"], "TARGET"),
    ],
)
def test_bad_usage(words: list[str], said: str, tmp_path: Path) -> None:
    ended = doctor(tmp_path, *words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_bad_settings(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--", "true", WS_AUDIT_MODE="blok")
    assert ended.code == 2
    assert "blok" in ended.err


def test_no_directory_and_an_empty_one(tmp_path: Path) -> None:
    ended = doctor(tmp_path, "--format", "json")
    assert ended.code == 1
    assert ended.finding("no_store") is not None
    ended = doctor(tmp_path, "--format", "json", WS_AUDIT_TRACE_DIR=str(tmp_path / "none"))
    assert ended.code == 1
    assert ended.finding("no_process") is not None


def test_a_running_process_is_read_while_it_runs_and_after_it_was_killed(tmp_path: Path) -> None:
    source = GOOD + "\nimport uvicorn\nuvicorn.run(app, port=0, log_level='warning')\n"
    (tmp_path / "app.py").write_text(source)
    trace = tmp_path / "trace"
    environment = {"WS_AUDIT_ENABLED": "1", "WS_AUDIT_TRACE_DIR": str(trace)}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        env=surroundings(tmp_path, **environment),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not list(trace.glob("state-*.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert state(tmp_path, trace)["state"] == "running"
    finally:
        process.kill()
        process.wait()
    assert state(tmp_path, trace)["state"] == "gone"


def state(folder: Path, trace: Path) -> dict[str, Any]:
    ended = doctor(folder, "--format", "json", WS_AUDIT_TRACE_DIR=str(trace))
    return ended.process


def test_old_files_are_swept(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.mkdir(mode=0o700)
    old, new = trace / "state-else-77.json", trace / "state-else-78.json"
    other = trace / "somebody.json"
    for path in (old, new, other):
        path.write_text("{}")
    long_ago = time.time() - 40 * 86_400
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    (tmp_path / "app.py").write_text(GOOD)
    serve(tmp_path, [], app="app:app", WS_AUDIT_TRACE_DIR=str(trace))
    names = {path.name for path in trace.iterdir()}
    assert old.name not in names
    assert {new.name, other.name} <= names
    assert len([name for name in names if name.startswith("state-")]) == 2
    assert not [name for name in names if name.endswith(".new")]


def test_the_text_tells_the_same(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    ended = serve(tmp_path, ["/ann"], form="text", app="app:app")
    for words in ("1 problem", "4 messages seen, 4 judged", "WS_AUDIT_TRACE_DIR=", "ChatManager"):
        assert words in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100
    assert "Ctrl-C" in ended.err
    with pytest.raises(json.JSONDecodeError):
        json.loads(ended.out)


POLICIES = """
identity.aliases = "app:missing"

[[policy]]
kind = "broadcast"
events = ["message"]
reason = "everybody may read it"

[[policy]]
kind = "system"
principals = ["robot"]
reason = "notices"

[[policy]]
kind = "system"
principals = ["ann"]
reason = "last year's"
expires = 2020-12-31

[[policy]]
kind = "room"
membership = "app:members"
room = "type"
reason = "a function that fails"
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """An application with policies: one that is used, one that is not, one that has ended."""
    folder = tmp_path_factory.mktemp("declared")
    mixed = GOOD.replace('"user_id": name}', '"user_id": "carol"}')
    mixed += "\n\ndef members(room):\n    raise KeyError(room)\n"
    (folder / "app.py").write_text(mixed)
    (folder / "ws.toml").write_text(POLICIES)
    return serve(folder, ["/ann"], app="app:app", frames=5, WS_AUDIT_CONFIG="ws.toml")


def test_policies_are_told_with_what_they_excused(declared: Ended) -> None:
    told = [
        (one["number"], one["kind"], one["reason"], one["expired"], one["excused"])
        for one in declared.process["policies"]
    ]
    assert told == [
        (1, "broadcast", "everybody may read it", False, 5),
        (2, "system", "notices", False, 0),
        (3, "system", "last year's", True, 0),
        (4, "room", "a function that fails", False, 0),
    ]
    assert declared.process["verdicts"] == {"excused": 5}


def test_a_policy_that_has_ended_is_a_problem(declared: Ended) -> None:
    found = declared.finding("policy_expired")
    assert found is not None
    assert found["level"] == "problem"
    assert "3 (system, until 2020-12-31: last year's)" in found["title"]
    assert "[[policy]] 3 (system): expired on 2020-12-31" in declared.err
    assert declared.code == 1


def test_a_policy_nobody_needed_is_told(declared: Ended) -> None:
    found = declared.finding("policy_unused")
    assert found is not None
    assert found["level"] == "note"
    assert "[[policy]] 2 (" in found["title"]
    assert "[[policy]] 4 (" in found["title"]
    assert "[[policy]] 1 (" not in found["title"]
    assert "[[policy]] 3 (" not in found["title"]


def test_a_function_that_is_not_there_is_told_at_the_start(declared: Ended) -> None:
    assert "identity.aliases = 'app:missing': there is none (AttributeError)" in declared.err


def test_without_policies_nothing_is_said_of_them(good: Ended) -> None:
    assert good.process["policies"] == []
    assert good.finding("policy_expired") is good.finding("policy_unused") is None
