"""What every kind that talks to a server needs: TLS, what blocks in threads of its own, and the way to it as findings."""
