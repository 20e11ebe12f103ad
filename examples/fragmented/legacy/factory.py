# SPDX-License-Identifier: Apache-2.0
"""The factory of the same name as the new one."""

from .connections import ConnectionManager, connection_manager


def get_websocket_manager() -> ConnectionManager:
    """The manager the mobile team means."""
    return connection_manager
