"""The pictures of the console in the docs: `make pictures` takes them anew, of a real router with invented mail."""
