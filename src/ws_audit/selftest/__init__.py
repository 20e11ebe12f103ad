# SPDX-License-Identifier: Apache-2.0
"""A leak that is nobody's, which shows that one would be seen."""
