# SPDX-License-Identifier: Apache-2.0
"""How many managers the rules take, and how many others, of a set frozen before it was measured."""

from __future__ import annotations

from tests.classification.labelled import DIGEST, MODULES, digest, labels


def test_the_set_is_the_one_that_was_frozen() -> None:
    print(f"\nlabelled set {digest()}")
    assert digest() == DIGEST


def test_it_is_large_enough() -> None:
    marked = [label for path in MODULES.glob("*.py") for label in labels(path).values()]
    assert marked.count(True) >= 60
    assert marked.count(False) >= 60
