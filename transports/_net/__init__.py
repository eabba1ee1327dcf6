"""What every kind that talks to a server needs: TLS, threads for what blocks, and the way to a server as findings."""
