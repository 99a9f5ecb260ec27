"""The targets; every module here is one."""
