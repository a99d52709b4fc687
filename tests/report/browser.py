"""A headless Chromium driven over its debugging pipe: no driver program and no library is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


class Tab:
    """One page. ``complaints`` holds whatever the console said, and every request that left the page."""

    def __init__(self, send, receive):
        self._send, self._receive, self._count, self._session = send, receive, 0, None
        self.complaints = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The answer to a command; events that come first are looked through."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._send(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            answer = self._receive()
            self._look(answer)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def _look(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(parameters))
        if method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(("file:", "data:")):
            self.complaints.append(parameters["request"]["url"])
        if method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path, width=1280, height=900, dark=False):
        """Load a file in a window of a size, as a reader who prefers light or dark and no motion."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])
        self._loaded = False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._look(self._receive())

    def run(self, script):
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys):
        """Press keys, or type a text of several characters."""
        for key in keys:
            if key not in _KEYS:
                self.call("Input.insertText", text=key)
                continue
            text = {"Enter": "\r", " ": " "}.get(key)
            common = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
            self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self):
        """A screenshot of the window, as a PNG file's bytes."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def names(self, *roles):
        """``(role, name)`` of every element of the page that has one of the roles, as assistive technology hears it."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node["ignored"]]
        pairs = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]
        return [pair for pair in pairs if pair[0] in roles]


@contextmanager
def browser(folder):
    """A page in a browser of its own, with an empty profile in a folder."""
    to_child, from_us = os.pipe()
    from_child, to_us = os.pipe()
    alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The browser reads commands from its descriptor 3 and answers on 4; each message ends with a zero byte.
    command = [CHROMIUM, *_FLAGS, *alone, f"--user-data-dir={folder}"]
    shell = f'exec 3<&{to_child} 4>&{to_us}; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", shell, "browser", *command], pass_fds=(to_child, to_us), stderr=subprocess.DEVNULL
    )
    os.close(to_child)
    os.close(to_us)
    rest = b""

    def send(message):
        os.write(from_us, json.dumps(message).encode() + b"\0")

    def receive():
        nonlocal rest
        while b"\0" not in rest:
            more = os.read(from_child, 2**20)
            assert more, "the browser has gone"
            rest += more
        line, _, rest = rest.partition(b"\0")
        return json.loads(line)

    try:
        yield Tab(send, receive)
    finally:
        os.close(from_us)
        process.terminate()
        process.wait(30)
        os.close(from_child)
