/* A bicubic resize: along x as the source rows come, then along y. */
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

int resize_begin(Resize *resize, const Request *request, int channels, int width, int height)
{
    const Request *q = request;
    memset(resize, 0, sizeof *resize);
    resize->channels = channels;
    if (axis_make(&resize->x, q->left, q->right, width, q->width, q->window_left, q->window_width, q->flip) ||
        axis_make(&resize->y, q->top, q->bottom, height, q->height, q->window_top, q->window_height, 0)) {
        resize_free(resize);
        return 1;
    }
    resize->begin = axis_begin(&resize->y);
    resize->end = axis_end(&resize->y);
    resize->stride = (size_t)q->window_width * channels + ROW_SLACK;
    /* Three rows more: the last group of four may be short. */
    resize->rows = malloc(resize->stride * (size_t)(resize->end - resize->begin + 3));
    if (!resize->rows) {
        resize_free(resize);
        return 1;
    }
    return 0;
}

void resize_take(Resize *resize, const uint8_t *const *rows, int count)
{
    const uint8_t *in[4];
    uint8_t *out[4];
    for (int r = 0; r < 4; r++) {
        in[r] = rows[r < count ? r : count - 1];
        out[r] = resize->rows + (size_t)(resize->done + r) * resize->stride;
    }
    resample_rows(&resize->x, resize->channels, in, out);
    resize->done += count;
}

void resize_finish(Resize *resize, uint8_t *out)
{
    int bytes = resize->x.count * resize->channels;
    const uint8_t **rows = malloc(sizeof(uint8_t *) * (size_t)(resize->end - resize->begin));
    if (!rows) abort(); /* a few hundred bytes */
    for (int i = 0; i < resize->y.count; i++) {
        int first = resize->y.first[i] - resize->begin;
        for (int t = 0; t < resize->y.taps[i]; t++) rows[t] = resize->rows + (size_t)(first + t) * resize->stride;
        resample_column(&resize->y, i, rows, bytes, out + (size_t)i * bytes);
    }
    free(rows);
}

void resize_free(Resize *resize)
{
    axis_free(&resize->x);
    axis_free(&resize->y);
    free(resize->rows);
    resize->rows = NULL;
}

/* Resize uint8 pixels [height][width][channels] in memory; returns 0, or 1 without memory. */
EXPORT int mae_resize(const uint8_t *pixels, int width, int height, int channels, const Request *request, uint8_t *out)
{
    Resize resize;
    size_t stride = (size_t)width * channels;
    /* The kernels read a little behind a row: the last four rows are taken from a copy. */
    uint8_t *tail = malloc(4 * stride + ROW_SLACK);
    if (!tail) return 1;
    if (resize_begin(&resize, request, channels, width, height)) {
        free(tail);
        return 1;
    }
    for (int row = resize.begin; row < resize.end; row += 4) {
        const uint8_t *rows[4];
        int count = resize.end - row < 4 ? resize.end - row : 4;
        const uint8_t *from = pixels + (size_t)row * stride;
        if (row + 4 + (int)(ROW_SLACK / stride) >= height) {
            memcpy(tail, from, (size_t)count * stride);
            from = tail;
        }
        for (int r = 0; r < 4; r++) rows[r] = from + (size_t)(r < count ? r : count - 1) * stride;
        resize_take(&resize, rows, count);
    }
    resize_finish(&resize, out);
    resize_free(&resize);
    free(tail);
    return 0;
}
