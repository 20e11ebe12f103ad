# SPDX-License-Identifier: Apache-2.0
"""Counts over threads: exact, also of those that have ended, and no larger for their number."""

from __future__ import annotations

import threading

from ws_audit.tally import Tally

KEY = ("delivery", "asgi")


def test_counts_of_threads_that_have_ended_stay_and_their_dictionaries_go() -> None:
    tally = Tally()
    tally.add(KEY)
    for number in range(200):
        thread = threading.Thread(target=tally.add, args=(KEY, 2))
        thread.start()
        thread.join()
        if number % 10 == 0:
            assert tally.total() == {KEY: 1 + 2 * (number + 1)}
    assert tally.total() == {KEY: 401}
    assert len(tally._all) == 1


def test_a_scrape_while_threads_end_sees_each_count_once() -> None:
    tally = Tally()
    seen: list[int] = []
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            seen.append(tally.total().get(KEY, 0))

    scraping = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in scraping:
        thread.start()
    for _ in range(50):
        batch = [threading.Thread(target=tally.add, args=(KEY,)) for _ in range(10)]
        for thread in batch:
            thread.start()
        for thread in batch:
            thread.join()
    done.set()
    for thread in scraping:
        thread.join()
    assert tally.total() == {KEY: 500}
    assert max(seen) <= 500
    assert len(tally._all) <= 1


def test_forgotten_counts_do_not_come_back() -> None:
    tally = Tally()
    tally.add(KEY)
    tally.forget()
    assert tally.total() == {}
    tally.add(KEY)
    assert tally.total() == {KEY: 1}
