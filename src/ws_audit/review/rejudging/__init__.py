# SPDX-License-Identifier: Apache-2.0
"""Stored violations judged again: under other policies, and what would excuse them."""
