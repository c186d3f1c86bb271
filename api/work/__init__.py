"""The queue and what works it: claims, the runs themselves, and who looks after them."""
