"""The page in a real browser; skipped where there is no Chromium."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import report_cases as cases
from PIL import Image

from widthwise.report import html_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
PROBE = """
<script>
const heads = () => [...document.querySelectorAll("#rows thead th")];
const column = (i) => [...document.querySelectorAll("#rows tbody tr:not([hidden])")].map(r => r.cells[i].dataset.value);
const said = {};
const press = (i) => heads()[i].querySelector("button").click();
said.first = column(0).join();
press(2); said.best = column(2).join(); said.bestSort = heads()[2].getAttribute("aria-sort");
press(2); said.worst = column(2).join();
press(7); said.predicted = column(7).join(); said.oldSort = heads()[2].getAttribute("aria-sort");
press(7); said.predictedDown = column(7).join();
search.value = "sparse x"; search.dispatchEvent(new Event("input")); said.sparse = column(1).join();
search.value = ""; document.querySelector("#within").click(); said.within = column(0).join();
said.shown = document.querySelector("#shown").textContent;
said.focusable = heads().every(h => h.querySelector("button").tabIndex === 0);
document.body.innerHTML = "";
for (const [key, value] of Object.entries(said)) {
  const line = document.createElement("p");
  line.id = key;
  line.textContent = value;
  document.body.append(line);
}
</script>
"""

MEASURE = """
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const plots = [...page.querySelectorAll("#accuracy figure > div > div")].filter(d => d.offsetHeight > 0);
  const widths = { window: page.defaultView.innerWidth, content: page.documentElement.scrollWidth };
  const said = { ...widths, plot: plots[0].className };
  document.body.innerHTML = Object.entries(said).map(([k, v]) => `<p id="${k}">${v}</p>`).join("");
});
</script>
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def browse(tmp_path, source, *flags):
    """Open the page; give the rendered document, and fail if the console had anything to say."""
    page = tmp_path / "report.html"
    page.write_text(source, encoding="utf-8")
    alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *FLAGS, *alone, profile, *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True, cwd=tmp_path)
    errors = done.stderr.decode(errors="replace")
    assert "CONSOLE" not in errors, errors
    return done.stdout.decode()


def probed(tmp_path, comparison, *flags):
    """Operate the table from a script of ours, for which the page's own policy has to be lifted."""
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html_report(comparison))
    body = browse(tmp_path, source.replace("</body>", f"{PROBE}</body>"), "--dump-dom", *flags)
    return dict(re.findall(r'<p id="(\w+)">(.*?)</p>', body))


def floats(text):
    return [float(v) for v in text.split(",") if v]


@pytest.mark.slow
def test_table_sorts_and_filters(tmp_path):
    comparison = cases.digits()
    said = probed(tmp_path, comparison, "--window-size=1280,900")
    assert floats(said["first"]) == list(range(1, 17))
    assert floats(said["best"]) == sorted((r.mean for r in comparison.rows), reverse=True)
    assert floats(said["worst"]) == sorted(r.mean for r in comparison.rows)
    known = sorted(r.predicted for r in comparison.rows if r.predicted is not None)
    assert floats(said["predicted"]) == known
    assert floats(said["predictedDown"]) == known[::-1]
    assert said["predictedDown"].endswith(",,")
    assert (said["bestSort"], said["oldSort"]) == ("descending", "none")
    assert sorted(said["sparse"].split(",")) == sorted(r.label for r in comparison.rows if r.method == "sparse")
    assert said["shown"] == "16 of 21 networks"
    assert said["focusable"] == "true"


@pytest.mark.slow
@pytest.mark.parametrize("make", [cases.digits, cases.hostile, cases.diverged])
def test_a_phone_never_scrolls_sideways(tmp_path, make):
    """In a frame, because a browser's window has a least width that is more than a phone's."""
    frame = f'<iframe width="360" height="800" frameborder="0" srcdoc="{html.escape(html_report(make()))}"></iframe>'
    found = dict(re.findall(r'<p id="(\w+)">(.*?)</p>', browse(tmp_path, frame + MEASURE, "--dump-dom")))
    assert found == {"window": "360", "content": "360", "plot": "narrow"}


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "bright"), [(1, True), (0, False)])
def test_light_and_dark(tmp_path, scheme, bright):
    picture = tmp_path / "shot.png"
    flags = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=900,1400", f"--screenshot={picture}")
    browse(tmp_path, html_report(cases.digits()), *flags)
    grey = np.asarray(Image.open(picture).convert("L"), dtype=float)
    assert (np.median(grey) > 128) == bright
    assert np.std(grey) > 10
