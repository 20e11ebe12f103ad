# SPDX-License-Identifier: Apache-2.0
"""What two users' instances share and change: searched in the drain, never on the call path."""
