"""What a page is made of: nothing of a run becomes markup, charts share no names, the gallery is what was wrong."""

import json
import re
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the report extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

from mae_core.errors import UserError
from mae_core.report import http_server
from mae_core.report.charts import Bar, Line, line_chart
from mae_core.report.curves import progress
from mae_core.report.gallery import mistakes, read_predictions
from mae_core.report.http_server import LivePage, make_server
from mae_core.report.page import Page, Section, part, render
from mae_core.report.pictures import columns_for, tile
from mae_core.report.run_files import read_run
from mae_core.report.sections import bars_section, confusion, provenance

EVIL = "<script>alert(1)</script>"


def test_what_a_run_is_called_is_text():
    chart = line_chart([Line(EVIL, [0, 1], [1, 2]), Line("b", [0, 1], [2, 1])], "x", EVIL, EVIL)
    bars = bars_section(EVIL, [Bar(EVIL, 0.5, "50 %", elsewhere=EVIL)], EVIL)
    page = render(Page(EVIL, EVIL, EVIL, [bars, Section(EVIL, [chart, part("listing", EVIL, EVIL)])]))
    assert EVIL not in page
    assert "not measured in this run" in page


@pytest.mark.parametrize("heads", [3, 4, 6, 12, 16])
def test_no_attention_map_stands_alone_in_the_last_row(heads):
    tiles = heads + 3  # the image, the mean of heads, the rollout
    for most in (7, 4):
        assert columns_for(tiles, most) <= most
        assert tiles % columns_for(tiles, most) != 1


def test_charts_of_one_page_share_no_names_and_follow_the_style_sheet():
    charts = [str(line_chart([Line("a", [0, 1], y)], "x", "y", "what it shows")) for y in ([1, 2], [2, 1])]
    names = [set(re.findall(r'\bid="([^"]+)"', chart)) for chart in charts]
    assert all(names)
    assert not names[0] & names[1]
    for chart, own in zip(charts, names, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', chart)) <= own
        assert "var(--one)" in chart
        assert 'aria-label="what it shows"' in chart
        assert not re.search(r"#[0-9a-f]{6}\b", chart), "a colour that dark mode does not change"


@pytest.mark.parametrize("end", [0.21, 0.22])  # where the ticks' labels grew after room had been made for them
def test_the_name_of_an_axis_has_room(end):
    chart = str(line_chart([Line("a", [0, 14.19], [1.35, end])], "epoch", "loss of removed patches", "falls"))
    left = re.search(r'x="([-\d.]+)"[^>]*>loss of removed patches<', chart)
    assert left
    assert float(left[1]) > 8  # points; letters of 10 rise above their line by so much


@pytest.fixture
def run(tmp_path):
    """A folder as -eval leaves it: of nine images three are wrong, two of them the same pair."""
    (tmp_path / "eval").mkdir()
    (tmp_path / "config.yaml").write_text("MODEL: {NUM_CLASSES: 3}\n")
    (tmp_path / "eval/confusion.csv").write_text("1,2,0\n0,3,0\n1,0,2\n")
    rows = ["index,image,class,predicted,probability", "0,a/0.jpg,0,0,0.9", "1,a/1.jpg,0,1,0.5", "2,a/2.jpg,0,1,0.8"]
    rows.append("6,c/6.jpg,2,0,0.7")
    (tmp_path / "eval/predictions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_gallery_shows_the_surest_mistakes_and_the_matrix_leads_there(run):
    drawn = []

    def draw(index, path, alt):
        drawn.append(index)
        return tile(np.zeros((4, 4, 3), np.uint8), alt)

    files = read_run(run)
    gallery, shown = mistakes(read_predictions(files), {0: "cat", 1: "dog"}, draw)
    assert drawn == [2, 1, 6]
    assert shown == {(0, 1), (2, 0)}
    page = render(Page("t", "h", "l", [confusion(files, {0: "cat", 1: "dog"}, shown), gallery]))
    targets = set(re.findall(r'href="#(mistake-[^"]+)"', page))
    assert targets == {"mistake-0-1", "mistake-2-0"} == set(re.findall(r'id="(mistake-[^"]+)"', page))
    assert "cat taken for dog" in page
    assert "80% sure, a/2.jpg" in page
    assert "3 of 4 images" in page


@pytest.mark.parametrize(
    ("left", "start", "said"),
    [
        (605.2, {}, "At step 1,200, epoch 3; 10 min 05 s of training left."),
        (605.2, {"seconds": 60}, "Stopped at step 1,200, epoch 3; 10 min 05 s of training left."),
        (0.0, {"seconds": 60}, "Trained to its end, step 1,200, epoch 3, in 2 min 00 s."),
        (None, {}, ""),
    ],
)
def test_the_time_left_is_said(run, left, start, said):
    record = {"step": 1200, "epoch": 3.0, "loss": 1, "lr": 1} | ({} if left is None else {"eta_s": left})
    (run / "log.jsonl").write_text(json.dumps(record) + "\n")
    (run / "provenance.json").write_text(json.dumps({"starts": [{"seconds": 60}, start]}))
    assert progress(read_run(run)) == said


def test_provenance_of_each_start_is_told(run):
    starts = [{"command": f"mae-x {EVIL}", "seconds": 3725, "seeds": {"run": 7}}, {"command": "again", "first_step": 9}]
    (run / "provenance.json").write_text(json.dumps({"starts": starts}))
    page = render(Page("t", "h", "l", [provenance(read_run(run))]))
    assert EVIL not in page
    for words in ("Start 1 of 2", "1 h 02 min 05 s", "run 7", "not yet, or it was killed", "NUM_CLASSES: 3"):
        assert words in page


@pytest.mark.parametrize("damage", ["provenance.json", "eval/scores.json"])
def test_a_folder_that_is_no_run_or_is_damaged_is_refused_by_name(run, tmp_path, damage):
    with pytest.raises(UserError, match=r"config\.yaml nor log\.jsonl"):
        read_run(tmp_path / "eval")
    (run / damage).write_text("[1")
    with pytest.raises(UserError, match=str(run)):
        read_run(run)


def test_a_live_page_that_takes_long_to_make_leaves_the_run_the_machine(run, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(http_server.time, "monotonic", lambda: now[0])

    def build():
        now[0] += 2.0
        return Page("t", f"{len(read_run(run).train)} records", "l")

    page = LivePage(run, build, "127.0.0.1")
    assert b"0 records" in page.html()
    (run / "log.jsonl").write_text(json.dumps({"step": 1, "epoch": 1, "loss": 1, "lr": 1}) + "\n")
    now[0] += 9.9
    assert b"0 records" in page.html()
    now[0] += 0.2
    assert b"1 records" in page.html()


def test_the_live_page_follows_the_run_and_answers_this_machine_alone(run, monkeypatch):
    pytest.importorskip("waitress")
    monkeypatch.setattr(http_server, "REST", 0)
    page = LivePage(run, lambda: Page("t", f"{len(read_run(run).train)} records", "l"), "127.0.0.1")
    server = make_server(page, "127.0.0.1", 0)
    threading.Thread(target=server.run, daemon=True).start()
    address = f"http://127.0.0.1:{server.effective_port}"

    def get(path, **headers):
        with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=10) as answer:
            return answer.read().decode()

    try:
        before = get("/version")
        assert "0 records" in get("/")
        assert json.dumps(before) in get("/")
        (run / "log.jsonl").write_text(json.dumps({"step": 1, "epoch": 1, "loss": 1, "lr": 1}) + "\n")
        assert get("/version") != before
        assert "1 records" in get("/")
        (run / "config.yaml").write_text("a: [")
        (run / "log.jsonl").touch()
        assert "cannot be read just now" in get("/")
        for path, host, code in (("/etc/passwd", "localhost", 404), ("/", "attacker.example", 403)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(path, Host=host)
            assert refused.value.code == code
        with pytest.raises(UserError, match="--port"):
            make_server(page, "127.0.0.1", server.effective_port)
    finally:
        server.close()
