"""A private nginx with TLS, whose one site has the `location` that a test gives it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.installed import program
from tests.servers.ports import free_port
from tests.servers.process import end, spawn, wait_until
from tests.servers.tls import Tls

_CONFIGURATION = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {tls.certificate};
        ssl_certificate_key {tls.key};
        {location}
    }}
}}
"""


class Nginx:
    """It runs until `close`, at `origin`, which has no slash at the end."""

    def __init__(self, tls: Tls, location: str) -> None:
        self._port = free_port()
        self.origin = f"https://localhost:{self._port}"
        self._folder = Path(tempfile.mkdtemp(prefix="er-nginx-"))
        self._folder.chmod(0o755)  # its workers give up being root
        log, configuration = self._folder / "log", self._folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=self._folder, port=self._port, tls=tls, location=location)
        )
        command = [program("nginx"), "-c", str(configuration)]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        self._process = spawn(command, log)
        wait_until((self._folder / "pid").exists, f"nginx runs; its log is {log}")

    def close(self) -> None:
        """Stop, and remove what it wrote."""
        end(self._process, [self._port])
        shutil.rmtree(self._folder)
