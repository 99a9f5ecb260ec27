"""Names, networks and directories that every part uses."""
