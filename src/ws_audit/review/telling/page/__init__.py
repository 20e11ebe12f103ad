# SPDX-License-Identifier: Apache-2.0
"""The review as one self-contained page: read at three in the morning, handed on at noon."""
