"""What goes on beside the runs, in one process at a time: watching, and tidying up."""
