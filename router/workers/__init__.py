"""Processes that do the processor's work, and can be given up.

`pool` shares the work out, `fork_server` starts and ends them, `worker` is what they run.
"""
