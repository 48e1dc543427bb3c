"""What every process is built from: configuration, logs, signals, watchdogs, listeners."""
