# SPDX-License-Identifier: Apache-2.0
"""What is decided of a delivery, and what a policy excuses."""
