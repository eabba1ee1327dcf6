"""How many messages a second the router takes in and sends out on this machine: `make bench`."""
