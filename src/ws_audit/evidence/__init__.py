# SPDX-License-Identifier: Apache-2.0
"""Every statement of whose connection, run or task something is."""
