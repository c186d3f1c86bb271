"""The use cases: what a request may do to servers and runs, each in one short transaction."""
