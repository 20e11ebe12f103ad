# SPDX-License-Identifier: Apache-2.0
"""The same answers from columns kept beside a directory, and from a ClickHouse."""
