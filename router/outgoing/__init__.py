"""The way out: claim what is due, compose it, hand it to a relay, record what became of each recipient."""
