# SPDX-License-Identifier: Apache-2.0
"""Living inside somebody else's process: imports, forks, the kill switch, the breaker."""
