"""Webhooks: subscribers are told of events by HTTP, each in the order of events, by one process at a time.

    run      which webhooks this process tells; a task for each
    tell     one webhook's turn: event by event, until none is left or it fails
    target   where a webhook may be
    sign     how a request is signed (Standard Webhooks)

At least once: an event counts as told once its answer was 2xx and that is committed. A webhook that fails waits for
itself alone, ever longer, and is paused at the end of its ladder.
"""
