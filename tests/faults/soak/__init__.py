"""A soak: a service with many servers under a bounded load, for an hour or as long as one likes.

`python -m tests.faults.soak` makes one and says what came of it: whether memory and file descriptors stayed flat,
whether anything failed, and how long answers took.
"""
