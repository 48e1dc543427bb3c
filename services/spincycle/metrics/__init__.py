"""What a process tells operators and autoscalers, in the format of Prometheus."""
