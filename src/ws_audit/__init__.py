# SPDX-License-Identifier: Apache-2.0
"""Audits user isolation on live WebSocket traffic."""

__version__ = "0.1.0"
