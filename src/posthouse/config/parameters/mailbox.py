"""The mail store and virtual delivery."""
