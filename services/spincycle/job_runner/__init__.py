"""The job runner: walks job chains, tries jobs, journals every try."""
