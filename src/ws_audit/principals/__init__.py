# SPDX-License-Identifier: Apache-2.0
"""Who somebody is, by every identifier they go by."""
