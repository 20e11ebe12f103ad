# SPDX-License-Identifier: Apache-2.0
"""What trace directories hold, line by line: the one reader whose answers all others give."""
