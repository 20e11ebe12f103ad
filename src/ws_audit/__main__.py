# SPDX-License-Identifier: Apache-2.0
"""`python -m ws_audit`: the `ws-audit` command where no script is on the path.

It must never do more than call it.
"""

from __future__ import annotations

import sys

from ws_audit.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
