"""Metrics of a process for operators and autoscalers, in the Prometheus text format."""
