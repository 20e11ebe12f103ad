# SPDX-License-Identifier: Apache-2.0
"""The example under audit with everything that belongs around it in production."""
