# SPDX-License-Identifier: Apache-2.0
"""An agent-chat backend with one manager."""
