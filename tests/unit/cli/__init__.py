"""The command line, with a library that contacts nothing."""
