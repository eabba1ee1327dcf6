"""Processes that do the processor's work, and can be given up: `pool` is the router's side, `worker` the other."""
