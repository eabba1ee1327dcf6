"""What every test can ask for."""

# Those that others import come first: pytest has to prepare them before they are imported.
pytest_plugins = [
    "tests.support.databases",
    "tests.servers.fixtures",
    "tests.support.profiles",
    "tests.support.forked",
    "tests.support.router_process",
    "tests.support.crm",
    "tests.support.correlating",
    "tests.support.senders",
    "tests.support.traffic",
    "tests.support.office",
    "tests.support.api",
]
