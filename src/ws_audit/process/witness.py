# SPDX-License-Identifier: Apache-2.0
"""Imported anew when a server takes the application, to prove that imports are seen.

Why it exists: another import hook may swallow what we would have watched, and an agent that
is armed, silent and blind is worse than none. It must never hold anything else.
"""

seen = False  # the finder makes it True when it has seen this module execute
