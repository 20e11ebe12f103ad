# SPDX-License-Identifier: Apache-2.0
"""A review told to a person: as text, as a page, as it goes on."""
