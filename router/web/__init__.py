"""The browser's and the monitoring's face: HTTP in the router's own process and loop, at EMAIL_ROUTER_CONSOLE.

`server` keeps it up without ever stopping mail; `app` has the routes, `api` what is under /api/v1, `files` how a
stranger's file is handed over by pages and API. Nothing here knows the database: what is asked or done is an operation,
handed in.
"""
