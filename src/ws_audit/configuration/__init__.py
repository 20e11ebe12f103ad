# SPDX-License-Identifier: Apache-2.0
"""What the user says: environment and TOML, held against what each key accepts."""
