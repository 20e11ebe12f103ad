# SPDX-License-Identifier: Apache-2.0
"""Prompts that come at about the same time go to the model in one batch."""

import asyncio

WINDOW = 0.2

_waiting = []


def infer(prompts):
    return [f"Regarding your question ({prompt}): done." for prompt in prompts]


def complete(prompt):
    loop = asyncio.get_running_loop()
    if not _waiting:
        loop.call_later(WINDOW, flush)
    future = loop.create_future()
    _waiting.append((prompt, future))
    return future


def flush():
    batch = sorted(_waiting, key=lambda item: len(item[0]))  # less padding
    _waiting.clear()
    answers = infer([prompt for prompt, _ in batch])
    for (_, future), answer in zip(batch, answers):
        if not future.done():
            future.set_result(answer)
