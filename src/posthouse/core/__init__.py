"""Values of the mail world: no input or output, no clock, no randomness."""
