"""The command line client `spinc`."""
