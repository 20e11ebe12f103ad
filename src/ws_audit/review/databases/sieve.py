# SPDX-License-Identifier: Apache-2.0
"""A Bloom filter of the ids in a file: most files need not be opened to know that one is not there.

Why it exists: a trace is in one or two of a thousand files, and opening all of them takes longer
than anybody wants to wait.

It must never say that something is not there which is.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

PERSON: Final = 8  # so many digits of a person's hash are looked for: the fewest one may ask with
_64: Final = (1 << 64) - 1
_SPREAD: Final = 0x9E37_79B9_7F4A_7C15
_SHIFTS: Final = (0, 13, 26, 39)
_EACH: Final = 10  # bits for each key: one file in eighty is opened for nothing


def number(kind: str, value: int | str) -> int:
    """The key of an id: of a trace its lower half, of a person the first digits of the hash."""
    if isinstance(value, str):
        text = f"{kind} {value[:PERSON] if kind == 'person' else value}"
        return int.from_bytes(
            blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big"
        )
    # Somebody else's ids may be small numbers, or alike at one end.
    mixed = (value ^ value >> 32) * _SPREAD + len(kind) & _64
    return mixed ^ mixed >> 29


def sieve(keys: Collection[int]) -> bytes:
    """A filter that lets these keys through."""
    size = max(1 << 10, 1 << (len(keys) * _EACH - 1).bit_length()) if keys else 1 << 10
    bits = bytearray(size >> 3)
    mask = size - 1
    for key in keys:
        for shift in _SHIFTS:
            place = key >> shift & mask
            bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def may_hold(bits: bytes, key: int) -> bool:
    """Whether a key may be among those of a filter."""
    mask = (len(bits) << 3) - 1
    for shift in _SHIFTS:
        place = key >> shift & mask
        if not bits[place >> 3] >> (place & 7) & 1:
            return False
    return True
