"""The whole of Spin Cycle on one Linux machine, for development, tests and the demonstration."""
