"""The PostgreSQL that runs where no other is named: its programs, its cluster, and the process that they are."""
