# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium through chromedriver, by plain WebDriver requests (W3C WebDriver, level 2)."""
import base64
import json
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zlib

import programs

# Of anything that must happen: only a test that fails waits for it.
DEADLINE = 60.0


class Browser:
    def __init__(self, width=1280, height=1400):
        self.profile = tempfile.mkdtemp(prefix="chiral-page-")
        self.driver = None
        try:
            self.driver = programs.Program("/usr/bin/chromedriver", "--port=0")
            line = self.driver.wait_line("started successfully on port")
            self.base = f"http://127.0.0.1:{int(line.rsplit(' ', 1)[1].rstrip('.'))}"
            arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--disable-sync",
                         "--disable-dev-shm-usage", "--no-proxy-server", f"--window-size={width},{height}",
                         f"--user-data-dir={self.profile}"]
            always = {"goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
                      "goog:loggingPrefs": {"browser": "ALL"}}
            session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": always}})
            self.session = f"/session/{session['sessionId']}"
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.driver is None:
            return
        if getattr(self, "session", None):
            try:
                self._ask("DELETE", self.session)
            except (OSError, AssertionError):
                pass  # the browser is gone already, which is what was wanted
        self.driver.end(signal.SIGTERM)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=DEADLINE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode(errors='replace')}") from None

    def open(self, url):
        self._ask("POST", self.session + "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a JavaScript function's body."""
        return self._ask("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script, *arguments):
        """Waits until the script's value is true, and returns it. It says what it sees when that does not come."""
        end = time.monotonic() + DEADLINE
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            if time.monotonic() > end:
                page = self.run("return document.body.dataset.state + '\\n' + document.body.innerText")
                raise AssertionError(
                    f"did not come within {DEADLINE:g} s:\n{script}\n\nthe page:\n{page}\n\n{self.console()}")
            time.sleep(0.1)

    def new_tab(self):
        """Opens a tab, and returns its handle; it is not the present one yet."""
        return self._ask("POST", self.session + "/window/new", {"type": "window"})["handle"]

    def tab(self):
        return self._ask("GET", self.session + "/window")

    def switch_to(self, handle):
        self._ask("POST", self.session + "/window", {"handle": handle})

    def close_tab(self):
        self._ask("DELETE", self.session + "/window")

    def resize(self, width, height):
        """Of the page: a window would not get as narrow as a phone."""
        self._ask("POST", self.session + "/goog/cdp/execute", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}})

    def console(self):
        """What was logged since the last call, errors and warnings of the browser itself among it."""
        entries = self._ask("POST", self.session + "/se/log", {"type": "browser"})
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def screenshot(self, path):
        """Takes a picture of the window and returns its width and height, read from the file."""
        data = base64.b64decode(self._ask("GET", self.session + "/screenshot"))
        with open(path, "wb") as file:
            file.write(data)
        return png_size(data)


def png_size(data):
    """Width and height of a PNG whose every pixel row is there (W3C PNG, second edition)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "it does not begin as a PNG does"
    position, chunks = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4:position + 8], data[position + 8:position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(kind + body), f"checksum of {kind}"
        chunks.append((kind, body))
        position += 12 + length
    width, height, bits, colour = struct.unpack(">IIBB", chunks[0][1][:10])
    assert bits == 8 and colour in (2, 6), (bits, colour)
    rows = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    assert len(rows) == height * (1 + width * (3 if colour == 2 else 4)), "rows are missing"
    return width, height
