# SPDX-License-Identifier: Apache-2.0
"""Client libraries at a fixed version, each in a directory of its own.

Briefcase runs beside other services of the house that need other versions of the same library, so
it brings its own: `python install.py redis==4.6.0` installs ahead of time, `ensure` on first use.
They go to BRIEFCASE_VENDOR, by default ~/.cache/briefcase; to have no network at the start, fill
that directory with `pip install --target BRIEFCASE_VENDOR/redis-4.5.1 redis==4.5.1` and the same
for 4.6.0.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def vendor() -> Path:
    return Path(os.environ.get("BRIEFCASE_VENDOR") or Path.home() / ".cache" / "briefcase")


def ensure(name: str, version: str) -> Path:
    """The directory that holds this version; installs it if it is not there yet."""
    target = vendor() / f"{name}-{version}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = ("PATH", "HOME", "LANG")
    ours = ("PIP_", "UV_", "HTTP_", "HTTPS_", "NO_PROXY", "SSL_")
    environment = {
        key: value
        for key, value in os.environ.items()
        if key in kept or key.upper().startswith(ours)
    }
    if importlib.util.find_spec("pip"):
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
    else:
        words = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target"]
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        subprocess.run(
            [*words, f"{made}/new", f"{name}=={version}"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        try:
            Path(f"{made}/new").rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(f"{made}/new", ignore_errors=True)
    return target


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ("redis==4.5.1", "redis==4.6.0"):
        print(ensure(*wanted.split("==")))
