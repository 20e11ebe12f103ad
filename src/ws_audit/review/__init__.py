# SPDX-License-Identifier: Apache-2.0
"""The review: who saw whose data, told from what the agent left behind."""
