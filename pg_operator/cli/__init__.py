"""The command line: one click command a process."""
