# SPDX-License-Identifier: Apache-2.0
"""What there is of managers in this process: implementations, ways to them, who uses them."""
