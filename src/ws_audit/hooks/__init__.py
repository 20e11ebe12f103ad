# SPDX-License-Identifier: Apache-2.0
"""Patches application classes in place: the only rooms besides transports that touch them."""
