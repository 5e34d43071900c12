"""From the words of the command line to a config, and from a config to objects."""
