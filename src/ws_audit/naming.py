# SPDX-License-Identifier: Apache-2.0
"""The defaults as data: what classes, methods, parameters and fields are usually called.

Why it exists: everything the agent takes for granted about other people's code stands on
this one page, so that it can be read, argued about and overridden.

It must never hold logic, and nothing here is specific to one application. The names come
from a survey of 110 public backends.
"""

from __future__ import annotations

from typing import Final

# Names of classes, methods and parameters are compared in lower case with their words apart:
# `WSHub` is `ws_hub`, `sendToUser` is `send_to_user` (see classify.words).

# --- classes ---------------------------------------------------------------------------

# Names that speak of live connections by themselves. `ws` and `sse` only as words: there are
# `NewsManager`, `AwsNotifier`, `AssetManager`.
MANAGER_CLASS: Final = (
    r"(connection|web_?socket|socket|real_?time|(^|_)(ws|sse)\d*_)\w*"
    r"(manager|hub|broadcast(er)?|notifier|emitter|bridge|(event_?)?bus|factory|registry|router)$"
)
# Names that many other things bear too: they count only with a sign of real-time code.
MAYBE_CLASS: Final = (
    r"(session|notification|stream|event|subscriber|client|channel)\w*manager$"
    r"|(^|_)(manager|hub|broadcast(er)?|notifier|emitter|bridge|(event)?bus|factory|registry"
    r"|router|dispatcher|outbox)$"
)
# Among the first, those that leave no doubt which connections.
LIVE_CLASS: Final = r"web_?socket|socket_?io|real_?time|(^|_)(ws|sse)\d*_"
# Never managers: doubles for tests, and interfaces.
NOT_MANAGER_CLASS: Final = (
    r"(^|_)(mock(ed)?|fake|stub|dummy|spy|double)s?(_|$)|^_?tests?_|protocol$"
)
# What is delivered or connected otherwise than to sockets: these words in a class's name say so.
OTHER_MEDIUM: Final = (
    r"(^|_)(e?_?mails?|smtp|sms|slack|telegram|discord|webhooks?|push_?over|pager|metrics?|telemetry"
    r"|stats_?d|audit|log(ging|ger)?|data_?bases?|db|sql|postgres|mysql|sqlite|mongo|redis|cache"
    r"|kafka|rabbit(_?mq)?|amqp|mqtt|nats|pulsar|celery|tasks?|jobs?|plugins?|commands?|domain"
    r"|signals?|serial|ssh|s?ftp|ldap|tcp|udp|http|grpc|bluetooth|modbus|models?|resources?"
    r"|context|threads?|process(es)?)(_|$)"
)
# Classes of frameworks that stand between one connection and the application.
REALTIME_BASE: Final = (
    r"web_?socket\w*(consumer|handler|protocol|factory|listener|endpoint|view)$"
    r"|(^|_)namespace$|^(async_|json_|async_json_)?consumer$"
)

# Modules whose presence in a module's names marks it as real-time code.
REALTIME_MODULES: Final = frozenset(
    {
        "starlette",
        "fastapi",
        "websockets",
        "socketio",
        "engineio",
        "channels",
        "aiohttp",
        "tornado",
        "sanic",
        "quart",
        "litestar",
        "falcon",
        "blacksheep",
        "flask_socketio",
        "sse_starlette",
        "autobahn",
        "simple_websocket",
        "wsproto",
    }
)

# Of these, the ones that serve plain HTTP as well: importing them says little.
WEB_MODULES: Final = frozenset(
    {
        "starlette",
        "fastapi",
        "aiohttp",
        "tornado",
        "sanic",
        "quart",
        "litestar",
        "falcon",
        "blacksheep",
    }
)
# Names that say it: of a module itself, and of what it defines or imports.
LIVE_MODULE: Final = r"(^|[._])(web_?sockets?|sockets?|ws|sse|socket_?io|real_?time)([._]|$)"
LIVE_NAME: Final = r"(^|_)(web_?sockets?|ws|sse|socket_?io|sio)(_|$)|event_source"

# --- names in the code of methods -------------------------------------------------------

# Sockets by name, wherever they stand, and names that mean one where a module is real-time.
SOCKET_NAME: Final = r"(^|_)web_?sockets?(_|$)"
MAYBE_SOCKET_NAME: Final = (
    r"(^|_)(ws|sid|sse|sio|socket_?io)(_|$)|^(send|receive|iter)_(json|text|str)$|^write_message$"
)
# Calls that give a message to something that knows the sockets.
FORWARD_NAME: Final = (
    r"^_?(send|emit|push|publish|notify|broadcast)_to_\w+$|^send_personal_message$"
    r"|^broadcast(_\w+)?$"
)
# What a socket's own methods are called.
SOCKET_SENDS: Final = frozenset(
    {
        *("send_json", "send_text", "send_bytes", "send_str", "write_message", "sendMessage"),
        *("group_send", "broadcast"),
    }
)
# A method that also does one of these may be a writer's loop or a whole conversation, and its
# sends those of others.
NOT_ONE_SEND: Final = frozenset(
    {
        *("accept", "prepare", "recv", "receive", "receive_json", "receive_text", "receive_bytes"),
        *("iter_json", "iter_text", "iter_bytes", "listen", "get_message", "sleep", "wait"),
        *("get", "get_nowait", "pop", "popleft", "create_task", "ensure_future", "gather"),
    }
)
# How a client asks somebody else's server for a socket.
CLIENT_CALLS: Final = frozenset(
    {"ws_connect", "websocket_connect", "create_connection", "WebSocketApp", "aconnect_ws"}
)
# A method that hands out what a client then reads from.
SUBSCRIBE_METHOD: Final = r"^_?(subscribe|listen|stream|events?)(_\w+)?$"
QUEUE_PUTS: Final = frozenset({"put", "put_nowait"})
# Among methods known by what they do: everybody gets the message.
TO_ALL: Final = r"(^|_)(all|everyone|everybody|others|relay|fan_?out)(_|$)"

# --- methods, by hook kind; the first kind that takes a name wins ------------------------

UNBIND_METHOD: Final = (
    r"^_?(on_?|handle_)?(disconnect|unregister|detach|deregister)"
    r"(_(all|user|client|connection|web_?socket|socket|ws|session))?$"
    r"|^_?(remove|drop|close|delete|unbind)_(connection|web_?socket|socket|client|ws|user)$"
)
BIND_METHOD: Final = (
    r"^_?(on_?|handle_)?(connect|register|attach|accept|bind)(_\w+)?$"
    r"|^_?add_(connection|web_?socket|socket|client|ws|user)$"
)
# Bind only if they take a socket: `join(websocket, user_id)`, but not `add(item)`. One that
# subscribes a user to a stream has no socket to take.
BIND_WITH_SOCKET: Final = r"^_?(join|add|subscribe|authenticate|login|open|attach_user)(_\w+)?$"
RECEIVE_METHOD: Final = (
    r"^_?(on|handle|process|route|receive)_(message|incoming\w*|inbound\w*|client_message"
    r"|user_message|websocket_message|frame|text)$|^_?(receive|on_receive)$"
)
BROADCAST_METHOD: Final = (
    r"^_?(broadcast|announce|publish|fan_?out)(_\w+)?$|^_?(send|notify|emit|push)(_\w+)?_all(_\w+)?$"
    r"|^_?(send|notify|emit|push)_(to_)?(room|group|channel|topic|everyone|subscribers)(_\w+)?$"
    # Of a person, not to one: the user they name is the subject.
    r"|^_?(send|notify|emit|push)_(\w+_)?(presence|typing|joined|left|online|offline|followers)(_\w+)?$"
)
SEND_METHOD: Final = (
    r"^_?(send|emit|publish|notify|push|dispatch|announce|write_message|enqueue|deliver|trigger)"
    r"(_\w+)?$"
)
# What frameworks call on consumers and namespaces when something comes in: no one message's way.
HANDLER_METHOD: Final = r"(on|receive|websocket|connect|disconnect|open|close|handle|dispatch)(_|$)"
# A method that says by its name that it addresses one person, whatever else it looks like.
DIRECT_METHOD: Final = r"(to_?user|to_?client|to_?member|personal|direct|private|_user$|unicast)"

# --- factories -----------------------------------------------------------------------------

# Functions and methods that hand out managers, `get_websocket_manager`, `emitter_factory`.
FACTORY_FUNCTION: Final = (
    r"^_*(get|create|make|build|new|provide|resolve|obtain|acquire|init|setup|ensure)"
    r"(_or_create|_async)?_(\w+_)?"
    r"(manager|hub|broadcaster|notifier|emitter|bridge|bus|registry|router|dispatcher)"
    r"(_for_\w+|_from_\w+|_async|_instance)?$"
    r"|_(manager|hub|notifier|emitter|bridge)_factory$"
)
FACTORY_CLASS: Final = r"(factory|provider|pool|locator|container)$"
# Their methods, and static and class methods of a manager itself.
FACTORY_METHOD: Final = (
    r"^_?((get|create|make|build|new|provide|acquire|obtain)(_or_create|_async|_instance)?"
    r"|(get_)?instance|shared|default|for_user|for_context|for_request|(create|get)_for_\w+)$"
)

# --- parameters --------------------------------------------------------------------------

# The recipient a caller names: name -> kind of identifier.
RECIPIENTS: Final[dict[str, str]] = {
    "user_id": "id",
    "userid": "id",
    "uid": "id",
    "user": "id",
    "recipient": "id",
    "recipient_id": "id",
    "recipient_user_id": "id",
    "to": "id",
    "to_user": "id",
    "to_user_id": "id",
    "target_user": "id",
    "target_user_id": "id",
    "account_id": "id",
    "owner_id": "id",
    "profile_id": "id",
    "member_id": "id",
    "player_id": "id",
    "customer_id": "id",
    "username": "name",
    "user_name": "name",
    "email": "email",
    "user_email": "email",
}
# Never the recipient.
EXCLUDED: Final = (
    r"^(exclud(e|es|ed|ing)|skip|except|ignore|omit|without|sender|from|by|actor|author)(_|$)"
    r"|_(sender|actor|author|by)$"
)
# With one of these the message is for a place or a socket, not for the person named beside it.
ROOMS: Final = (
    r"^(room|channel|group|topic|inbox|chat|conversation|meeting|document|project)(_id|_name)?s?$"
)
# Rooms and groups that are one person's, unless what follows is one of these words.
USER_ROOM: Final = r"user[:_\-./]([A-Za-z0-9]+|[0-9a-fA-F-]{32,36}|[^@\s:/]+@[^@\s:/]+)"
NO_USER_ROOM: Final = frozenset(
    {
        *("activity", "admin", "admins", "all", "broadcast", "changes", "channel", "channels"),
        *("chat", "count", "event", "events", "feed", "group", "groups", "guests", "joined"),
        *("left", "list", "lobby", "login", "logout", "message", "messages", "new", "notification"),
        *("notifications", "offline", "online", "presence", "profile", "profiles", "public"),
        *("room", "rooms", "service", "staff", "stats", "status", "typing", "update", "updates"),
    }
)
SOCKETS: Final = r"^(web_?socket|ws|socket|sock|conn|connection|client_socket)$"
PAYLOADS: Final = (
    "message",
    "payload",
    "data",
    "msg",
    "event_data",
    "body",
    "content",
    "text",
    "event_payload",
    "update",
    "notification",
    "frame",
    "packet",
)
EVENT_PARAMETERS: Final = (
    "event",
    "event_type",
    "event_name",
    "type",
    "message_type",
    "msg_type",
    "kind",
)

# Parameters and attributes that hold the user a per-user object was built for.
OWNER_ATTRIBUTES: Final = (
    "user_id",
    "_user_id",
    "uid",
    "user",
    "_user",
    "username",
    "user_context",
    "_user_context",
    "context",
    "_context",
    "ctx",
    "current_user",
)
# Attributes under which application classes keep the framework's socket.
SOCKET_ATTRIBUTES: Final = (
    "websocket",
    "_websocket",
    "ws",
    "_ws",
    "socket",
    "_socket",
    "connection",
)

# Words in the names of what per-user objects share on purpose: services' own books, what is set
# once for all, and what belongs to a place and not to a person.
SHARED_BY_DESIGN: Final = (
    r"(^|_)(caches?|cached|memo|memoi[sz]ed|pools?|registry|registries|instances?|singletons?|metrics?"
    r"|stats|statistics|counters?|counts?|limits?|limiters?|locks?|mutex|semaphores?|log|logs|loggers?"
    r"|logging|traces?|tracing|tracers?|audit|debug|recent|config|configs?|configuration|settings?"
    r"|options|flags?|features?|env|environment|constants?|defaults?|schemas?|templates?"
    r"|queues?|outbox|bus|dispatch(er)?|subscribers?|subscriptions?|listeners?|handlers?|callbacks?"
    r"|hooks?|middlewares?|plugins?|tools?|workers?|tasks?|jobs?|loop|clients?|connections?|sockets?"
    r"|web_?sockets?|sessions|rooms?|groups?|channels?|topics?|members?|documents?|docs?|boards?"
    r"|games?|lobby|lobbies|presence|online|public|shared|global|globals|common|catalog(ue)?|app)(_|$)"
)

# --- identity ----------------------------------------------------------------------------

# Fields of a user object, a claims dict or a session, in order of preference -> kind.
USER_FIELDS: Final[dict[str, str]] = {
    "user_id": "id",
    "userId": "id",
    "id": "id",
    "uid": "id",
    "pk": "id",
    "_auth_user_id": "id",
    "_user_id": "id",
    "sub": "subject",
    "username": "name",
    "user_name": "name",
    "name": "name",
    "email": "email",
}
TENANT_FIELDS: Final = ("tenant_id", "tenant", "org_id", "organization_id", "workspace_id")
# Under which a lazy object keeps what it stands for.
LAZY_ATTRIBUTE: Final = "_wrapped"
# Where routers leave what they read from the path, in the scope.
PATH_PARAMETERS: Final = ("path_params", "url_route.kwargs")
# Where a session keeps its user; "id" and "name" alone would be too common there.
SESSION_FIELDS: Final = (
    "user_id",
    "userId",
    "uid",
    "_auth_user_id",
    "_user_id",
    "sub",
    "username",
    "email",
)
# What one connection's own session may be named after instead.
SESSION_NAMES: Final = ("name", "login", "nickname")
# A message that brings one of these logs its sender in, as one of those.
CREDENTIALS: Final = ("token", "access_token", "jwt", "password", "api_key", "apiKey", "ticket")
LOGIN_FIELDS: Final = {
    "user_id": "id",
    "userId": "id",
    "uid": "id",
    "username": "name",
    "login": "name",
    "user": "name",
    "name": "name",
    "email": "email",
}
SESSION_OBJECTS: Final = ("user", "current_user", "userinfo")
# FastAPI dependencies whose result is who is connected.
USER_DEPENDENCIES: Final = (
    "current_user",
    "user",
    "current_user_id",
    "user_id",
    "principal",
    "auth_user",
    "authenticated_user",
    "identity",
    "claims",
    "token_claims",
    "token_data",
    "current_active_user",
    "me",
    "username",
)
# A connection's first name that is no person yet: login is no change of user.
GUEST: Final = r"^(guest|anon|anonymous|temp|visitor)([-_:.]|\d|$)"
# Words that stand for a part somebody plays, or for many: who is called so is not meant by them.
_PARTS: Final = (
    "admin administrator admins agent ai all anyone api app assistant author backend bot"
    " broadcast caller channel chat client clients company creator customer customers default"
    " dev developer driver editor everybody everyone frontend global group host internal"
    " manager me member members mod moderator moderators nobody operator operators"
    " organization other others owner patient player players private public reader reviewer"
    " room root sales self seller server service shared someone staff student superuser"
    " supervisor support sys system teacher team test tester unknown user users viewer viewers"
    " visitor webhook worker you"
)
NO_PEOPLE: Final = frozenset(_PARTS.split())
# Path and query parameters: what a client says of itself, a claim.
CLAIM_PARAMETERS: Final = ("user_id", "userId", "uid", "user", "username", "email")

# --- payload fields ----------------------------------------------------------------------

# Fields that name the owner whatever stands beside them.
OWNER_FIELDS: Final[dict[str, str]] = {
    "recipient_id": "id",
    "recipientId": "id",
    "to_user_id": "id",
    "toUserId": "id",
    "owner_id": "id",
    "ownerId": "id",
}
# Fields that name the owner unless an actor field stands beside them.
USER_ID_FIELDS: Final[dict[str, str]] = {
    "user_id": "id",
    "userId": "id",
}
ACTOR_FIELDS: Final = (
    "sender_id",
    "senderId",
    "sender",
    "from",
    "from_user",
    "from_user_id",
    "author_id",
    "authorId",
    "author",
    "actor_id",
    "actor",
)
# Words in an actor field that name no person: the user beside them is not the actor.
NO_ACTORS: Final = frozenset({"agent", "ai", "assistant", "bot", "server", "system"})
# Fields that name people a message speaks of, or calls: never whose it is.
MENTION_FIELDS: Final = ("mentions", "mentioned_users", "mentioned_user_ids", "mentionedUsers")
# Fields and parameters that name what a message belongs to: (what it is, whether several people
# may have it by nature). A run is one person's; people talk with each other in a conversation.
RESOURCES: Final[dict[str, tuple[str, bool]]] = {
    "run_id": ("run", False),
    "runId": ("run", False),
    "thread_id": ("thread", True),
    "threadId": ("thread", True),
    "conversation_id": ("conversation", True),
    "conversationId": ("conversation", True),
    "session_id": ("session", True),
    "sessionId": ("session", True),
    "chat_id": ("chat", True),
    "chatId": ("chat", True),
}
# Fields that only together with the one above them say what they identify.
BARE_IDS: Final = frozenset({"id", "key", "number", "ref", "uid", "uuid"})
NESTED: Final = ("data", "payload")
EVENT_FIELDS: Final = ("type", "event", "event_type", "message_type", "eventType")
# Events that speak of a thing to somebody who may not, or no longer, or not yet see it.
WITHOUT_CONTENT: Final = (
    r"error|fail|den(y|ied)|forbid|refus|reject|unauthori|invalid|not_?found|expire"
    r"|left|leav|join|remov|revok|kick|bann|unsubscri|clos|delet|invit|request"
)
# What a client says of itself in a message.
CLAIM_FIELDS: Final = ("user_id", "userId", "sender_id", "senderId", "from_user_id", "author_id")

# Event names that may be label values from the start.
EVENTS: Final = (
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
    "agent_error",
    "agent_cancelled",
    "connected",
    "connection_established",
    "disconnected",
    "error",
    "message",
    "notification",
    "ping",
    "pong",
)
