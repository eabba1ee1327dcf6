"""The router under all its faults at once, on two processes and 20 mailboxes: nothing is lost, nothing comes twice."""
