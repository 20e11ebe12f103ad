# SPDX-License-Identifier: Apache-2.0
"""An agent chat service: users talk to agents over a WebSocket and watch their runs live."""
