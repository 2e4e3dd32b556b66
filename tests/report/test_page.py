"""The page in a real browser: it needs nothing, shows everything, and everyone can read it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from planted_runs import EXAMPLES, planted, write_bipartite, write_position, write_two_point

from l2m_eval.report.build import Options, make_report, write_report
from l2m_eval.results.load import load_results

WIDTHS = (400, 640, 900, 1280, 1600)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report on the example results, with states; on planted ones where the examples are not there."""
    folder = tmp_path_factory.mktemp("page")
    if (EXAMPLES / "results").is_dir():
        results = load_results(EXAMPLES / "results")
    else:
        for seed, (model, growth) in enumerate((("grows", 0.4), ("flat", 0.05))):
            write_bipartite(folder / "out", model, planted(growth, seed=seed))
            write_position(folder / "out" / "p", model, 3.0 + growth)
            write_two_point(folder / "out" / "t", model)
        results = load_results(folder / "out")
    labels = list(dict.fromkeys(one.run.label for one in results if one.bipartite))
    states = {labels[0]: "64*L", labels[-1]: "4096"}
    write_report(make_report(results, Options(states=states)), folder / "report")
    return folder / "report" / "report.html"


@pytest.fixture
def page(browser, report):
    opened = browser.page()
    opened.resize(1280)
    opened.prefer("light")
    opened.open(report)
    return opened


def test_it_loads_from_disk_without_a_request_or_a_complaint(page, report):
    assert page.requests == [report.resolve().as_uri()]
    assert page.complaints == []


def test_only_the_pages_own_script_may_run(page):
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.caught=1\">')")
    page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.caught = 1';"
        " document.body.append(s); })()"
    )
    page.evaluate("new Promise(done => setTimeout(done, 200))")
    assert page.evaluate("window.caught === undefined")


def test_every_figure_is_visible_and_named(page, report):
    data = json.loads((report.parent / "report.json").read_text())
    figures = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(svg => ({"
        "name: svg.closest('figure').id, label: svg.getAttribute('aria-label'), role: svg.getAttribute('role'),"
        "width: svg.getBoundingClientRect().width, height: svg.getBoundingClientRect().height,"
        "drawn: svg.querySelectorAll('path').length}))"
    )
    assert [f["name"] for f in figures] == [f"figure-{f['name']}" for f in data["figures"]]
    for figure in figures:
        assert figure["role"] == "img"
        assert len(figure["label"]) > 40
        assert figure["width"] > 250
        assert figure["height"] > 150
        assert figure["drawn"] > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways(browser, report, width, scheme):
    page = browser.page()
    page.resize(width)
    page.prefer(scheme)
    page.open(report)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1440])
def test_the_contents_stay_and_name_the_section_that_is_read(page, width):
    page.resize(width)
    page.evaluate("document.getElementById('position').scrollIntoView()")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seen = page.evaluate(
        "(() => { const a = document.querySelector('nav [aria-current]'), box = a.getBoundingClientRect();"
        "return [a.hash, document.querySelectorAll('nav [aria-current]').length, box.top, box.bottom, box.left]; })()"
    )
    assert seen[:2] == ["#position", 1]
    assert 0 <= seen[2] < seen[3] <= 900
    assert 0 <= seen[4] < width


def test_colours_follow_the_reader_and_the_button(page):
    background = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('figure svg [style*=\"series-0\"]')).stroke"
    light = (page.evaluate(background), page.evaluate(line))
    page.evaluate("document.getElementById('scheme').click()")
    by_button = (page.evaluate(background), page.evaluate(line))
    page.evaluate("document.getElementById('scheme').click()")
    assert (page.evaluate(background), page.evaluate(line)) == light
    page.prefer("dark")
    page.evaluate("delete document.documentElement.dataset.scheme")
    assert (page.evaluate(background), page.evaluate(line)) == by_button != light


def test_it_prints_light_with_every_table_open(page, tmp_path):
    page.prefer("dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => !d.open)")
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def column(page, heading):
    return page.evaluate(
        "(() => { const t = document.querySelector('#bipartite').closest('section').querySelector('details table');"
        f"const c = [...t.tHead.rows[0].cells].findIndex(h => h.textContent.startsWith({json.dumps(heading)}));"
        "return [...t.tBodies[0].rows].map(r => r.cells[c].dataset.value ?? r.cells[c].textContent); })()"
    )


def test_a_table_sorts_by_value_with_the_keyboard_alone(page):
    before = [float(value) for value in column(page, "I (nats)")]
    page.evaluate(
        "(() => { const s = document.querySelector('#bipartite').closest('section');"
        "s.querySelectorAll('details').forEach(d => { d.open = true; });"
        "[...s.querySelectorAll('th button')].find(b => b.textContent.startsWith('I (nats)')).focus(); })()"
    )
    page.press("Enter")
    assert [float(value) for value in column(page, "I (nats)")] == sorted(before)
    assert page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    page.press("Space")
    assert [float(value) for value in column(page, "I (nats)")] == sorted(before, reverse=True)
    assert page.evaluate("document.querySelectorAll('[aria-sort]').length") == 1


def test_what_has_no_value_stays_last_whichever_way_a_column_is_sorted(page):
    page.evaluate("""(() => {
      const column = t => [...t.tHead.rows[0].cells].findIndex(h => h.textContent.startsWith('documents'));
      const t = [...document.querySelectorAll('table.sortable')].find(t => column(t) >= 0);
      window.column = column(t);
      t.tBodies[0].rows[0].cells[window.column].dataset.value = '';
      window.shown = () => [...t.tBodies[0].rows].map(r => r.cells[window.column].dataset.value);
      window.press = () => t.tHead.rows[0].cells[window.column].querySelector('button').click(); })()""")
    for _ in range(2):
        page.evaluate("window.press()")
        assert page.evaluate("window.shown().at(-1)") == ""


def test_the_keyboard_reaches_everything_that_can_be_used(page):
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    usable = (
        "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility() && e.className !== 'skip')"
    )
    count = page.evaluate(f"(window.reached = new Set(), {usable}.length)")
    assert count > 20
    for _ in range(count + 10):  # the way leads from the content to the end and round to the head of the page
        page.press("Tab")
        page.evaluate("window.reached.add(document.activeElement)")
    assert (
        page.evaluate(f"{usable}.filter(e => !window.reached.has(e)).map(e => e.outerHTML.slice(0, 80))")
        == []
    )


def test_without_script_all_is_there_but_the_sorting(browser, report):
    page = browser.page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(report)
    assert page.evaluate("document.querySelectorAll('figure svg').length") > 2
    assert page.evaluate("document.getElementById('scheme').hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    page.prefer(scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    # A figure is one image with a label, and a table's rows are alike: thousands of them would only take axe's time.
    page.evaluate("document.querySelectorAll('figure svg').forEach(svg => svg.replaceChildren())")
    page.evaluate("document.querySelectorAll('tbody tr:nth-child(n + 7)').forEach(row => row.remove())")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = json.loads(
        page.evaluate("axe.run().then(r => JSON.stringify({bad: r.violations, good: r.passes.length}))")
    )
    assert found["good"] > 15  # it did look
    told = [
        (fault["id"], fault["impact"], fault["nodes"][0]["html"][:200])
        for fault in found["bad"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert told == []


def test_links_lead_to_files_that_are_there(page, report):
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    for link in links:
        if link.startswith("#"):
            assert page.evaluate(f"document.getElementById({json.dumps(link[1:])}) !== null")
        else:
            assert re.fullmatch(r"[a-z0-9/-]+\.[a-z]+", link)
            assert (report.parent / link).is_file()
