"""Authentication and the embedded directory."""
