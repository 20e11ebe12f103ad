# SPDX-License-Identifier: Apache-2.0
"""What Prometheus, Alertmanager and Grafana are given: rules, routes and dashboards, as text.

Why it exists: a panel or rule that asks for a name nobody writes shows nothing for ever. Here they
are made from one typed source and the names of `schema`; the files under `grafana/` are its output.

It must never be imported by the agent.
"""
