"""Posthouse against programs we did not write."""
