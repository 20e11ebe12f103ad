# SPDX-License-Identifier: Apache-2.0
"""Which class is a manager and what its methods mean, without running any of it."""
