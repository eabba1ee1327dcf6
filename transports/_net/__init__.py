"""What every kind that talks to a server needs: logins, TLS, threads for what blocks, and the way there as findings."""
