"""The mail store: every backend against one suite, then what is special about each."""
