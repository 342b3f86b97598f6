"""Pictures in rows under their titles."""

import numpy as np

from mae_data.drawing import GAP, TITLE, draw_rows

HEIGHT, WIDTH = 6, 4


def picture(value, channels):
    return np.full((HEIGHT, WIDTH, channels), value, np.uint8)


def test_each_picture_stands_enlarged_under_its_title_and_untitled_rows_close_up():
    rows = [[("first", picture(10, 1)), ("a long title, wider than any picture", picture(20, 3))]]
    rows += [[("", picture(30, 1))], [("third", picture(40, 1))]]
    drawn = np.asarray(draw_rows(rows, cell=20, caption="two\nlines"))
    zoom = 3  # 6 x 3 = 18, the largest multiple up to 20
    tops = [TITLE, TITLE + 18 + GAP, 2 * TITLE + 2 * (18 + GAP)]
    for top, value in zip(tops, (10, 30, 40), strict=True):
        assert (drawn[top : top + 18, GAP : GAP + WIDTH * zoom] == value).all()
        assert (drawn[top : top + 18, GAP + WIDTH * zoom : 2 * GAP + WIDTH * zoom] == 255).all()
        assert (drawn[top - 1] == 255).all()
    (columns,) = np.nonzero((drawn[TITLE : TITLE + 18] == 20).all(axis=(0, 2)))
    assert len(columns) == WIDTH * zoom
    titles = drawn[:TITLE].min(axis=(0, 2)) < 128  # a title ends before the next one, and inside the picture
    assert not titles[columns[0] - GAP : columns[0]].any()
    assert not titles[-GAP:].any()
    caption = drawn[tops[-1] + 18 + GAP :].min(axis=(1, 2)) < 128
    assert np.count_nonzero(np.diff(caption.astype(int)) == 1) == 2  # two lines, neither cut off
    assert not caption[-GAP:].any()


def test_a_picture_larger_than_its_cell_is_left_as_it_is():
    drawn = draw_rows([[("", picture(1, 3))]], cell=2)
    assert drawn.size == (WIDTH + 2 * GAP, HEIGHT + GAP)
