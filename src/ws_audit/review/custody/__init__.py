# SPDX-License-Identifier: Apache-2.0
"""Records as somebody's data and as evidence: found, sealed, handed out, erased."""
