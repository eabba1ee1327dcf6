"""Real mail servers for tests; `fixtures` is the pytest plugin."""
