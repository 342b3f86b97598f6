/* JPEG files of which only the rows and columns of a crop are decoded, by the libjpeg-turbo that Pillow uses.
 *
 * The library is opened at run time through Pillow's own extension, so both decode with the same code and the pixels
 * are the same. Whatever is unusual - a warning, another number of colours - is left to Pillow. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libjpeg/jpeglib.h"
#include "pixels.h"

enum { DONE = 0, NOT_HERE = 1, NO_LIBRARY = 2 };

/* A column needs its neighbours' colours, which are stored at half the resolution; 16 pixels are one block. */
#define MARGIN 16
#define ROWS 4

static struct {
    struct jpeg_error_mgr *(*std_error)(struct jpeg_error_mgr *);
    void (*create)(j_decompress_ptr, int, size_t);
    void (*destroy)(j_decompress_ptr);
    void (*mem_src)(j_decompress_ptr, const unsigned char *, unsigned long);
    int (*read_header)(j_decompress_ptr, boolean);
    boolean (*start)(j_decompress_ptr);
    void (*crop)(j_decompress_ptr, JDIMENSION *, JDIMENSION *);
    JDIMENSION (*skip)(j_decompress_ptr, JDIMENSION);
    JDIMENSION (*read)(j_decompress_ptr, JSAMPARRAY, JDIMENSION);
} lib;

/* Find libjpeg-turbo among the libraries that the extension at `path` is linked with. */
EXPORT int mae_jpeg_open(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return NO_LIBRARY;
    *(void **)&lib.std_error = dlsym(handle, "jpeg_std_error");
    *(void **)&lib.create = dlsym(handle, "jpeg_CreateDecompress");
    *(void **)&lib.destroy = dlsym(handle, "jpeg_destroy_decompress");
    *(void **)&lib.mem_src = dlsym(handle, "jpeg_mem_src");
    *(void **)&lib.read_header = dlsym(handle, "jpeg_read_header");
    *(void **)&lib.start = dlsym(handle, "jpeg_start_decompress");
    *(void **)&lib.crop = dlsym(handle, "jpeg_crop_scanline");
    *(void **)&lib.skip = dlsym(handle, "jpeg_skip_scanlines");
    *(void **)&lib.read = dlsym(handle, "jpeg_read_scanlines");
    int found = lib.std_error && lib.create && lib.destroy && lib.mem_src && lib.read_header && lib.start && lib.crop &&
                lib.skip && lib.read;
    return found ? DONE : NO_LIBRARY;
}

typedef struct {
    struct jpeg_error_mgr base; /* first: libjpeg hands out a pointer to it */
    jmp_buf back;
} Errors;

static void give_up(j_common_ptr info)
{
    longjmp(((Errors *)info->err)->back, 1);
}

/* Level -1 is a warning of damaged data: Pillow shall judge. Other levels are traces. */
static void on_message(j_common_ptr info, int level)
{
    if (level < 0) give_up(info);
}

typedef struct {
    struct jpeg_decompress_struct info;
    Errors errors;
    Resize resize;
    uint8_t *buffer, *grey; /* rows as decoded; the same in one channel */
} Decoder;

static void decoder_begin(Decoder *d, const uint8_t *data, size_t size)
{
    d->info.err = lib.std_error(&d->errors.base);
    d->errors.base.error_exit = give_up;
    d->errors.base.emit_message = on_message;
    /* Checks the version and the size of the struct; an error leads back to the caller. */
    lib.create(&d->info, JPEG_LIB_VERSION, sizeof d->info);
    lib.mem_src(&d->info, data, (unsigned long)size);
    lib.read_header(&d->info, TRUE);
}

static void decoder_free(Decoder *d)
{
    if (d->info.mem) lib.destroy(&d->info);
    resize_free(&d->resize);
    free(d->buffer);
    free(d->grey);
    free(d);
}

/* Read the header: size[] becomes {width, height}. NOT_HERE where only Pillow can decode the file. */
EXPORT int mae_jpeg_size(const uint8_t *data, size_t bytes, int size[2])
{
    Decoder *d = calloc(1, sizeof *d);
    if (!d) return NOT_HERE;
    if (setjmp(d->errors.back)) {
        decoder_free(d);
        return NOT_HERE;
    }
    decoder_begin(d, data, bytes);
    size[0] = (int)d->info.image_width;
    size[1] = (int)d->info.image_height;
    int colours = d->info.num_components, usual = (colours == 1 || colours == 3) && d->info.data_precision == 8;
    decoder_free(d);
    return usual ? DONE : NOT_HERE;
}

/* The largest of 8, 4, 2 by which the image can shrink and leave the box twice the size that it is resized to. */
static int shrinking(const Request *q)
{
    double x = (q->right - q->left) / q->width, y = (q->bottom - q->top) / q->height;
    double least = x < y ? x : y;
    return least >= 16 ? 8 : least >= 8 ? 4 : least >= 4 ? 2 : 1;
}

static int luma(const uint8_t *p) /* ITU-R 601, as Pillow rounds it */
{
    return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16;
}

/* Take four decoded rows to the resize, with `left` pixels missing before each. */
static void take_rows(Decoder *d, uint8_t *rows[ROWS], int count, size_t width, int left, size_t stride)
{
    const uint8_t *from[ROWS];
    int decoded = d->info.out_color_components;
    for (int r = 0; r < count; r++) {
        if (decoded == 3 && d->resize.channels == 1) {
            uint8_t *grey = d->grey + (size_t)r * stride;
            for (size_t p = 0; p < width; p++) grey[p] = (uint8_t)luma(rows[r] + 3 * p);
            from[r] = grey - left;
        } else {
            from[r] = rows[r] - (ptrdiff_t)left * decoded;
        }
    }
    resize_take(&d->resize, from, count);
}

static int set_columns(Decoder *d)
{
    int begin = axis_begin(&d->resize.x) - MARGIN, end = axis_end(&d->resize.x) + MARGIN;
    int whole = (int)d->info.output_width;
    if (begin < 0) begin = 0;
    if (end > whole) end = whole;
    if (begin == 0 && end == whole) return 0;
    JDIMENSION left = (JDIMENSION)begin, width = (JDIMENSION)(end - begin);
    lib.crop(&d->info, &left, &width);
    return (int)left;
}

static int read_rows(Decoder *d, int left)
{
    size_t width = d->info.output_width, stride = width * d->info.out_color_components + ROW_SLACK;
    int needed = d->resize.end - d->resize.begin;
    d->buffer = malloc(stride * ROWS);
    if (d->resize.channels == 1 && d->info.out_color_components == 3) d->grey = malloc(stride * ROWS);
    if (!d->buffer) return 1;
    uint8_t *rows[ROWS];
    for (int r = 0; r < ROWS; r++) rows[r] = d->buffer + (size_t)r * stride;
    if (d->resize.begin && lib.skip(&d->info, (JDIMENSION)d->resize.begin) != (JDIMENSION)d->resize.begin) return 1;
    for (int done = 0; done < needed;) {
        int count = needed - done < ROWS ? needed - done : ROWS, have = 0;
        while (have < count) {
            JDIMENSION got = lib.read(&d->info, rows + have, (JDIMENSION)(count - have));
            if (!got) return 1;
            have += (int)got;
        }
        take_rows(d, rows, count, width, left, stride);
        done += count;
    }
    return 0;
}

static void shrink_box(Request *q, int by)
{
    q->left /= by;
    q->top /= by;
    q->right /= by;
    q->bottom /= by;
}

/* Have grey files decoded as grey and others as RGB; returns 0 for other kinds. */
static int set_colours(Decoder *d)
{
    int colours = d->info.num_components;
    d->info.out_color_space = colours == 1 ? JCS_GRAYSCALE : JCS_RGB;
    return d->info.data_precision == 8 && (colours == 1 || colours == 3);
}

/* Turn grey pixels into three equal channels, in place, from behind. */
static void spread_grey(uint8_t *pixels, size_t count)
{
    for (size_t p = count; p-- > 0;) pixels[3 * p] = pixels[3 * p + 1] = pixels[3 * p + 2] = pixels[p];
}

/* Decode a whole JPEG file to uint8 [height][width][channels]; channels: 3 or 1. Returns as mae_jpeg_crop does. */
EXPORT int mae_jpeg_decode(const uint8_t *data, size_t bytes, int channels, uint8_t *out)
{
    Decoder *d = calloc(1, sizeof *d);
    if (!d) return NOT_HERE;
    if (setjmp(d->errors.back)) {
        decoder_free(d);
        return NOT_HERE;
    }
    decoder_begin(d, data, bytes);
    int usual = set_colours(d), spreads = d->info.num_components == 1 && channels == 3;
    if (usual) {
        lib.start(&d->info);
        size_t width = d->info.output_width, stride = width * d->info.out_color_components;
        int to_grey = d->info.out_color_components == 3 && channels == 1;
        if (to_grey) d->buffer = malloc(stride);
        usual = !to_grey || d->buffer;
        while (usual && d->info.output_scanline < d->info.output_height) {
            uint8_t *place = out + width * (size_t)channels * d->info.output_scanline;
            uint8_t *row = to_grey ? d->buffer : place;
            usual = lib.read(&d->info, &row, 1) == 1;
            if (to_grey)
                for (size_t p = 0; p < width; p++) place[p] = (uint8_t)luma(row + 3 * p);
            if (spreads) spread_grey(place, width);
        }
    }
    decoder_free(d);
    return usual ? DONE : NOT_HERE;
}

/* Decode and resize a part of a JPEG file.
 *
 * channels: 3 or 1. fast: let the decoder shrink first. out: uint8 [window height][window width][channels].
 * Returns DONE, or NOT_HERE where Pillow has to do it; then `out` is not to be used. */
EXPORT int mae_jpeg_crop(
    const uint8_t *data, size_t bytes, int channels, int fast, const Request *request, uint8_t *out)
{
    Request q = *request;
    Decoder *d = calloc(1, sizeof *d);
    if (!d) return NOT_HERE;
    if (setjmp(d->errors.back)) {
        decoder_free(d);
        return NOT_HERE;
    }
    decoder_begin(d, data, bytes);
    int colours = d->info.num_components, failed = 1;
    if (set_colours(d)) {
        d->info.scale_num = 1;
        d->info.scale_denom = fast ? (unsigned)shrinking(&q) : 1;
        shrink_box(&q, (int)d->info.scale_denom);
        lib.start(&d->info);
        int width = (int)d->info.output_width, height = (int)d->info.output_height;
        failed = resize_begin(&d->resize, &q, colours == 1 ? 1 : channels, width, height);
        failed = failed || read_rows(d, set_columns(d));
    }
    if (!failed) {
        resize_finish(&d->resize, out);
        if (colours == 1 && channels == 3) spread_grey(out, (size_t)q.window_width * q.window_height);
    }
    decoder_free(d);
    return failed ? NOT_HERE : DONE;
}
