/* Pixels of photographs: Pillow's bicubic resize, bit for bit, and JPEG files of which only a crop is decoded. */
#ifndef MAE_DATA_PIXELS_H
#define MAE_DATA_PIXELS_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* What is wanted: the box of the image, resized to (width, height); of that, a window; mirrored or not. */
typedef struct {
    double left, top, right, bottom;
    int width, height;
    int window_left, window_top, window_width, window_height;
    int flip;
} Request;

/* One axis of a resize. Output i is the sum of taps[i] source values from first[i] on, with 22-bit weights.
 * Weights lie in groups of four: the upper parts of the four, then the lower ones (weight = upper * 2048 + lower),
 * so that 16-bit multiplications give the exact 32-bit sum. Unused weights are 0. */
typedef struct {
    int count, groups;
    int *first, *taps;
    int16_t *weights; /* [count][groups][8] */
} Axis;

#define WEIGHT_BITS 22
#define LOWER_BITS 11
#define ROW_SLACK 64 /* bytes that the kernels may read, or write, behind a row */

/* Make the axis that resizes [from, to) of `source` values to `size`, for outputs start .. start + count; mirrored
 * when `flip`. Returns 0, or 1 without memory. */
int axis_make(Axis *axis, double from, double to, int source, int size, int start, int count, int flip);
void axis_free(Axis *axis);
int axis_begin(const Axis *axis); /* the first source value that is used */
int axis_end(const Axis *axis);   /* one behind the last */

/* Resample four rows along x; in[] point at the axis' source value 0. Out rows need ROW_SLACK. */
void resample_rows(const Axis *axis, int channels, const uint8_t *const in[4], uint8_t *const out[4]);
/* Resample along y into output row i; rows[] are the sources of its taps, `bytes` wide, each with ROW_SLACK. */
void resample_column(const Axis *axis, int i, const uint8_t *const *rows, int bytes, uint8_t *out);

/* A resize whose source rows come one after the other. */
typedef struct {
    Axis x, y;
    int channels, begin, end, done; /* source rows [begin, end) are needed; `done` of them came */
    size_t stride;
    uint8_t *rows; /* [end - begin][stride]: resampled along x */
} Resize;

int resize_begin(Resize *resize, const Request *request, int channels, int width, int height);
/* Take the next `count` (at most 4) rows; each pointer is at the source's column 0. */
void resize_take(Resize *resize, const uint8_t *const *rows, int count);
void resize_finish(Resize *resize, uint8_t *out); /* out: [window height][window width][channels] */
void resize_free(Resize *resize);

#endif
