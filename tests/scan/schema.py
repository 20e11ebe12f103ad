# SPDX-License-Identifier: Apache-2.0
"""The SARIF schema, cut to what is written here, and a reader of such schemas.

Why it exists: the whole schema is 110 KB, and a library to read it is not among the dependencies.

It must never pass over a keyword it does not know.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SCHEMA = json.loads(Path(__file__).with_name("sarif-2.1.0.json").read_text(encoding="utf-8"))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
CHECKED = {
    *("$ref", "type", "enum", "properties", "required", "additionalProperties", "items"),
    *("minItems", "uniqueItems", "minimum", "pattern", "anyOf"),
    *("definitions", "$comment", "$schema"),
}


def errors(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """What is wrong with a value."""
    if "$ref" in schema:
        return errors(value, SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]], place)
    found = [f"{place}: keyword {one}" for one in set(schema) - CHECKED]
    if "anyOf" in schema and all(errors(value, one, place) for one in schema["anyOf"]):
        found.append(f"{place}: none of anyOf")
    wanted = schema.get("type", "")
    kind = TYPES.get(wanted if isinstance(wanted, str) else wanted[0])
    if kind is not None and (not isinstance(value, kind) or (kind is int and value is True)):
        return [*found, f"{place}: no {wanted}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is none of {schema['enum']}")
    if isinstance(value, dict):
        found += _of_object(value, schema, place)
    elif isinstance(value, list):
        found += _of_array(value, schema, place)
    elif "minimum" in schema and value < schema["minimum"]:
        found.append(f"{place}: {value} below {schema['minimum']}")
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{place}: {value!r} is not like {schema['pattern']}")
    return found


def _of_object(value: dict[str, Any], schema: dict[str, Any], place: str) -> list[str]:
    needed = schema.get("required", ())
    found = [f"{place}: {one} is missing" for one in needed if one not in value]
    rest = schema.get("additionalProperties", True)
    for key, inner in value.items():
        if key in schema.get("properties", {}):
            found += errors(inner, schema["properties"][key], f"{place}.{key}")
        elif rest is False:
            found.append(f"{place}: {key} is not allowed")
        elif isinstance(rest, dict):
            found += errors(inner, rest, f"{place}.{key}")
    return found


def _of_array(value: list[Any], schema: dict[str, Any], place: str) -> list[str]:
    found: list[str] = []
    for number, inner in enumerate(value):
        found += errors(inner, schema.get("items", {}), f"{place}[{number}]")
    if len(value) < schema.get("minItems", 0):
        found.append(f"{place}: too few")
    if schema.get("uniqueItems") and len({json.dumps(one) for one in value}) < len(value):
        found.append(f"{place}: one twice")
    return found
