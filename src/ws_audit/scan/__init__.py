# SPDX-License-Identifier: Apache-2.0
"""How many managers a code base has, and by which ways round them, told without importing it."""
