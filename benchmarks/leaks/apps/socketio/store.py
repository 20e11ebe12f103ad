# SPDX-License-Identifier: Apache-2.0
import itertools
from collections import defaultdict

_ids = itertools.count(1)

notes = defaultdict(list)  # login name -> notes
messages = defaultdict(list)  # room -> messages


def add_note(owner, text):
    note = {"id": next(_ids), "owner": owner, "text": text}
    notes[owner].append(note)
    return note


def add_message(room, sender, text):
    message = {"id": next(_ids), "room": room, "from": sender, "text": text}
    messages[room].append(message)
    return message
