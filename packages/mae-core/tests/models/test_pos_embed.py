"""The sine-cosine positions against the formula, number by number, on a grid that is not square."""

import math

from mae_core.models.transformer import sincos_pos_embed


def test_column_then_row_each_sines_then_cosines():
    table = sincos_pos_embed(8, (2, 3))  # 2 frequencies: 1 and 1/100
    assert table.shape == (7, 8)
    assert not table[0].any()  # the class token
    for row in range(2):
        for column in range(3):
            wanted = [
                wave(place * frequency)
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for frequency in (1, 0.01)
            ]
            assert abs(table[1 + row * 3 + column] - wanted).max() < 1e-7
