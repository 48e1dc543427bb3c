"""The command line: spinc for those who ask for requests, spincycle for those who run services."""
