"""The notebooks in JupyterLab in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import expect, sync_playwright

from incident_lib import paths
from tests.support.browser import CHROMIUM, QUIET
from tests.support.papermill import papermill_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no command `chromium`"),
]
PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of JupyterLab with a copy of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for notebook in paths.NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    ran = papermill_here(tmp_path_factory.mktemp("ran"), "", "01_investigate")
    assert ran.code == 0
    shutil.copy(ran.folder / "out.ipynb", folder / "committed.ipynb")  # JupyterLab does not trust what it has not run
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        f"--port={port}",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        f"--notebook-dir={folder}",
    ]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / "config"), "HOME": str(folder)}
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    address = f"http://127.0.0.1:{port}"
    for _ in range(150):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=1).close()
            break
        except OSError:
            time.sleep(0.2)
    yield address
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:  # seen once: it stood still and did not react to SIGTERM
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def context(lab):
    """A headless Chromium, which loads JupyterLab's code once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser.new_context(viewport={"width": 1400, "height": 1000})
        browser.close()


@pytest.fixture
def page(context):
    """A page of that browser."""
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def investigated(context, lab):
    """A page in which all cells of 01 have been run."""
    page = context.new_page()
    opened(page, lab, "01_investigate")
    chosen(page, "Run", "Run All Cells")
    yield page
    page.close()


def opened(page, lab, notebook):
    """Open a notebook, wait for its kernel (earlier input would be lost), and clear its committed outputs."""
    page.goto(f"{lab}/lab/tree/{notebook}.ipynb?reset")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=PATIENCE)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=PATIENCE)
    chosen(page, "Edit", "Clear Outputs of All Cells")
    expect(page.locator(".jp-OutputArea-output")).to_have_count(0, timeout=PATIENCE)


def chosen(page, menu, entry):
    """Choose an entry of a menu."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def test_run_all_cells_shows_headline_and_chart(investigated):
    """After running all cells of 01, the headline and a chart with alternative text are shown."""
    page = investigated
    headline = page.locator(".jp-RenderedMarkdown strong", has_text="families (237 users) cannot start a chat")
    expect(headline.first).to_be_visible(timeout=PATIENCE)
    chart = page.locator(".jp-OutputArea-output img").first
    expect(chart).to_be_visible(timeout=PATIENCE)
    expect(chart).to_have_attribute("alt", re.compile(r"1,088 families are blocked for chat; nothing has been applied"))
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0


def typed(page, text):
    """Replace the first code cell."""
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def test_no_cell_below_a_typo_uses_the_earlier_environment(investigated):
    """After a run of 01, a typo in `environment` and Run All: the cells below stop, also when they are run by hand."""
    page = investigated
    expect(page.get_by_text("Families blocked for chat by a run thread").last).to_be_visible(timeout=PATIENCE)
    parameters = 'environment = "dmeo"\npurpose_since = ""\nlog = ""\nredact = True\nrecord = False\nrun = ""\n'
    typed(page, parameters)
    chosen(page, "Run", "Run All Cells")
    expect(page.get_by_text("The environment 'dmeo' is not known.").first).to_be_visible(timeout=PATIENCE)
    for code in ("before.indexes", "incident.rejected_inserts"):
        cell = page.locator(
            ".jp-CodeCell", has=page.locator(".cm-content", has_text=re.compile(f"^{re.escape(code)}$"))
        )
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        said = cell.locator(".jp-OutputArea-output")
        expect(said).to_contain_text("No environment is connected.", timeout=PATIENCE)
        expect(said).to_contain_text("The environment 'dmeo' is not known.")


def test_an_environment_that_is_not_confirmed_is_a_dry_run(incident, page, lab, monkeypatch):
    """With only the environment changed in the first cell, 02 says that it is a dry run."""
    opened(page, lab, "02_migrate")
    service = Path(os.environ["INCIDENT_RUNS"]).parent / "pg_service.conf"
    database, host = re.search(r"/(test_\w+)\?host=(.+)", incident.address).groups()
    service.write_text(f"[labtest]\nhost={host}\ndbname={database}\nuser=postgres\n")
    first = page.locator(".jp-CodeCell .cm-content").first
    first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(
        f'import os\nos.environ["PGSERVICEFILE"] = "{service}"\n'
        'environment = "labtest"\nconfirm = "demo"\nchange = "purpose"\nredact = True\nrecord = False\nrun = ""\n'
    )
    chosen(page, "Run", "Run All Cells")
    said = page.get_by_text("DRY RUN: nothing will be changed in 'labtest'. Set confirm to 'labtest' to allow changes.")
    expect(said.first).to_be_visible(timeout=PATIENCE)
    applied = page.get_by_text("Dry run: nothing was changed. Set confirm to 'labtest' to apply the fix.")
    expect(applied.first).to_be_visible(timeout=PATIENCE)
    with psycopg.connect(incident.address) as connection:
        query = "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_q_threads_family_unique'"
        (definition,) = connection.execute(query).fetchone()
    assert "purpose" not in definition


def test_an_untrusted_notebook_has_alternative_texts_and_aligned_tables(page, lab, tmp_path):
    """A notebook that is opened, not run, has the alternative texts, and its numbers are aligned to the right."""
    page.goto(f"{lab}/lab/tree/committed.ipynb?reset")
    picture = page.locator(".jp-OutputArea-output img").first
    expect(picture).to_have_attribute("alt", re.compile(r"\d"), timeout=PATIENCE)
    assert picture.evaluate("image => image.naturalWidth") > 0
    number = page.locator(".jp-RenderedHTMLCommon td", has_text=re.compile(r"^1,257$")).first
    assert number.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    text = page.locator(".jp-RenderedHTMLCommon td", has_text=re.compile("^idx_q_threads_family_unique$")).first
    assert text.evaluate("cell => getComputedStyle(cell).textAlign") == "left"
    assert page.locator(".jp-RenderedHTMLCommon th[scope=col]").count() > 0
