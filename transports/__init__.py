"""How mail is fetched, accepted and sent."""
