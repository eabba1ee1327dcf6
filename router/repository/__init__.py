"""What the router keeps in PostgreSQL, and the only place that knows asyncpg."""
