"""What every test can ask for."""

# Those that others import come first: pytest has to prepare them before they are imported.
pytest_plugins = [
    "tests.databases",
    "tests.servers.fixtures",
    "tests.profiles",
    "tests.router_process",
    "tests.crm",
    "tests.traffic",
]
