"""HTTP: routes, who may use them, what goes in and comes out, and how errors are told."""
