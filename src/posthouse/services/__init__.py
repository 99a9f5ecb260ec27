"""One module per service; the process table."""
