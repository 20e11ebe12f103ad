# SPDX-License-Identifier: Apache-2.0
"""What a process knows of itself, written down for `ws-audit doctor`."""
