# SPDX-License-Identifier: Apache-2.0
"""One message: what it says, who sent it where, which call it belongs to."""
