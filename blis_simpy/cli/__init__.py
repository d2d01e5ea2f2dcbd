"""The command line: flags derived from the settings, no logic of its own."""
