# SPDX-License-Identifier: Apache-2.0
"""The ways out of the process: metrics, spans, the store, and what wakes people up."""
