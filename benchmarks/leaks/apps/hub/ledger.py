# SPDX-License-Identifier: Apache-2.0
"""Balances come from the ledger host over a few long-lived lines (its licence counts lines)."""

import asyncio

from traders import TRADERS


class LedgerLine:
    """Requests go out, replies come back in the same order. There are no request numbers."""

    def __init__(self) -> None:
        self._out: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self._in: asyncio.Queue[str] = asyncio.Queue()
        self._host = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        # stands in for the host until the test environment is back
        while True:
            account, full = await self._out.get()
            await asyncio.sleep(0.8 if full else 0.01)
            self._in.put_nowait(f"USD {len(account) * 1250}.00 / {TRADERS[account].memo}")

    async def ask(self, account: str, full: bool) -> str:
        await self._out.put((account, full))
        return await self._in.get()

    def close(self) -> None:
        self._host.cancel()


class LedgerPool:
    def __init__(self, lines: int = 1) -> None:
        self._lines = lines
        self._free: asyncio.Queue[LedgerLine] = asyncio.Queue()

    def open(self) -> None:
        for _ in range(self._lines):
            self._free.put_nowait(LedgerLine())

    async def balance(self, account: str, full: bool = False) -> str:
        line = await self._free.get()
        try:
            reply = await line.ask(account, full)
        except BaseException:
            # whatever is still under way on this line is not for the next one
            line.close()
            self._free.put_nowait(LedgerLine())
            raise
        self._free.put_nowait(line)
        return reply
