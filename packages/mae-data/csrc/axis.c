/* The weights of a bicubic resize (a = -0.5, antialiased), as Pillow computes them: in double, then 22 bits. */
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

static double bicubic(double x)
{
    const double a = -0.5;
    if (x < 0) x = -x;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static int rounded(double value)
{
    double scaled = value * (1 << WEIGHT_BITS);
    return (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

static void put_weight(int16_t *weights, int tap, int weight)
{
    int16_t *group = weights + tap / 4 * 8;
    group[tap % 4] = (int16_t)(weight >> LOWER_BITS);
    group[4 + tap % 4] = (int16_t)(weight & ((1 << LOWER_BITS) - 1));
}

/* The part of an axis that is resized: values [base, base + length), of which the first begins `offset` inside. */
typedef struct {
    int base, length;
    double offset, scale;
} Span;

/* Fill in output `i` of the axis, which is output `o` of the whole resize. */
static void make_output(Axis *axis, int i, int o, const Span *span, double *values)
{
    double stretch = span->scale < 1 ? 1 : span->scale, support = 2 * stretch, inverse = 1 / stretch;
    double center = span->offset + (o + 0.5) * span->scale, sum = 0;
    int first = (int)(center - support + 0.5), last = (int)(center + support + 0.5);
    if (first < 0) first = 0;
    if (last > span->length) last = span->length;
    for (int t = 0; t < last - first; t++) {
        values[t] = bicubic((t + first - center + 0.5) * inverse);
        sum += values[t];
    }
    if (span->scale == 1 && span->offset == 0) { /* the size stays: all weights but one are 0 */
        values[0] = sum = 1;
        first = o;
        last = o + 1;
    }
    for (int t = 0; t < last - first; t++)
        put_weight(axis->weights + (size_t)i * axis->groups * 8, t, rounded(sum != 0 ? values[t] / sum : values[t]));
    axis->first[i] = span->base + first;
    axis->taps[i] = last - first;
}

int axis_make(Axis *axis, double from, double to, int source, int size, int start, int count, int flip)
{
    Span span = {(int)from, 0, from - (int)from, (to - from) / size};
    int end = (int)to < to ? (int)to + 1 : (int)to;
    span.length = (end > source ? source : end) - span.base; /* what lies outside has no part in it */
    double stretch = span.scale < 1 ? 1 : span.scale;
    int most = 2 * (int)(2 * stretch + 1) + 1; /* taps of any output */
    double *values = malloc(sizeof(double) * (size_t)most);
    axis->count = count;
    axis->groups = (most + 3) / 4;
    axis->first = malloc(sizeof(int) * (size_t)count * 2);
    axis->taps = axis->first ? axis->first + count : NULL;
    axis->weights = calloc((size_t)count * axis->groups * 8, sizeof(int16_t));
    if (!values || !axis->first || !axis->weights) {
        free(values);
        axis_free(axis);
        return 1;
    }
    for (int i = 0; i < count; i++)
        make_output(axis, i, start + (flip ? count - 1 - i : i), &span, values);
    free(values);
    return 0;
}

void axis_free(Axis *axis)
{
    free(axis->first);
    free(axis->weights);
    memset(axis, 0, sizeof *axis);
}

int axis_begin(const Axis *axis)
{
    int first = axis->first[0], last = axis->first[axis->count - 1];
    return first < last ? first : last; /* a mirrored axis runs down */
}

int axis_end(const Axis *axis)
{
    int a = axis->first[0] + axis->taps[0];
    int b = axis->first[axis->count - 1] + axis->taps[axis->count - 1];
    return a > b ? a : b;
}
