"""The journal, its index, and who is tried when."""
