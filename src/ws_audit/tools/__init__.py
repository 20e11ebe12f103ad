# SPDX-License-Identifier: Apache-2.0
"""The commands: each subcommand of `ws-audit` is a module here, and nothing else imports them."""
