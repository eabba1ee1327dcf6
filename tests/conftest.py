"""What every test can ask for."""

pytest_plugins = ["tests.databases", "tests.servers.fixtures", "tests.router_process", "tests.crm", "tests.traffic"]
