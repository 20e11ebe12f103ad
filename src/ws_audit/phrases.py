# SPDX-License-Identifier: Apache-2.0
"""More defaults as data: how messages are wrapped, and how one person's channel is called.

Why it exists: see naming. These are what a message's text and a channel's name are read by.

It must never hold logic, and nothing here is specific to one application.
"""

from __future__ import annotations

from typing import Final

# Names under which a message is wrapped: what stands there is a message itself.
ENVELOPES: Final = frozenset(
    {
        *("args", "arguments", "attributes", "body", "content", "contents", "d", "data", "detail"),
        *(
            "details",
            "event",
            "eventData",
            "event_data",
            "event_payload",
            "frame",
            "item",
            "message",
        ),
        *("msg", "notification", "object", "p", "packet", "params", "payload", "record", "result"),
        *("update", "value"),
    }
)
# Fields whose text many messages share: which event it is, when, where, and of whom it speaks.
NO_MARKS: Final = (
    r"^(action|actor|author|at|category|channel|class|client|code|colou?r|created|customer|date"
    r"|email|event|from|group|icon|kind|level|locale|mentions|mime|mode|name|op|origin|owner"
    r"|player|priority|recipient|role|room|sender|service|session|severity|source|state|status"
    r"|tenant|thread|time|timestamp|to|topic|ts|type|uid|updated|user|username|version)$"
    r"|^(account|actor|author|channel|chat|client|conversation|customer|event|from|group|member"
    r"|mentioned|message_type|org|organization|owner|player|profile|recipient|room|run|sender"
    r"|session|target|tenant|thread|to|topic|user|workspace)_?(id|ids|name|type|email|user\w*)$"
    r"|(_at|_on|time|date|stamp|_ts|_type|_status|_state|_url|_kind)$"
)

# First words of channels that are one person's, if a person follows: an e-mail address or somebody
# connected; and whether a uuid is enough (an account, a private talk have uuids of their own).
PERSONAL: Final[dict[str, bool]] = {
    "user": True,
    "users": True,
    "uid": True,
    "inbox": True,
    "personal": True,
    "notifications": True,
    "notification": True,
    "notify": True,
    "account": False,
    "accounts": False,
    "customer": False,
    "direct": False,
    "dm": False,
    "member": False,
    "person": False,
    "private": False,
    "profile": False,
}
