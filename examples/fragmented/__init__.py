# SPDX-License-Identifier: Apache-2.0
"""An agent-chat backend whose connections are kept in six places."""
