# SPDX-License-Identifier: Apache-2.0
import json

with open("people.json") as file:
    _by_name = {record["name"]: record for record in json.load(file)}
_by_token = {record["token"]: record for record in _by_name.values()}

STAFF = ("support", "admin")


def get(name):
    return _by_name[name]


def by_token(token):
    return _by_token.get(token)


def set_role(name, role):
    _by_name[name]["role"] = role


def is_staff(name):
    return _by_name[name]["role"] in STAFF
