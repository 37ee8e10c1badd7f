"""Ingress on the gateway: what is asked for becomes a plan, the plan HAProxy's configuration, and HAProxy is kept."""
