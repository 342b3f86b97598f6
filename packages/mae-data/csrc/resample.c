/* The two passes of a resize over uint8 values: plain C for every machine, AVX2 where the processor has it. */
#include <string.h>

#include "pixels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2_CODE 1
#define AVX2 __attribute__((target("avx2")))
#endif

#define ROUND (1 << (WEIGHT_BITS - 1))

static inline int weight_at(const int16_t *weights, int tap)
{
    const int16_t *group = weights + tap / 4 * 8;
    return group[tap % 4] * (1 << LOWER_BITS) + group[4 + tap % 4];
}

static inline uint8_t clipped(int sum)
{
    int value = sum >> WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void plain_row(const Axis *axis, int channels, const uint8_t *in, uint8_t *out)
{
    for (int i = 0; i < axis->count; i++) {
        const int16_t *weights = axis->weights + (size_t)i * axis->groups * 8;
        const uint8_t *from = in + (size_t)axis->first[i] * channels;
        for (int c = 0; c < channels; c++) {
            int sum = ROUND;
            for (int t = 0; t < axis->taps[i]; t++) sum += from[t * channels + c] * weight_at(weights, t);
            *out++ = clipped(sum);
        }
    }
}

static void plain_column(const int16_t *weights, int taps, const uint8_t *const *rows, int from, int bytes, uint8_t *out)
{
    for (int b = from; b < bytes; b++) {
        int sum = ROUND;
        for (int t = 0; t < taps; t++) sum += rows[t][b] * weight_at(weights, t);
        out[b] = clipped(sum);
    }
}

#ifdef HAVE_AVX2_CODE

AVX2 static inline __m256i whole(__m256i upper, __m256i lower)
{
    return _mm256_add_epi32(_mm256_slli_epi32(upper, LOWER_BITS), lower);
}

/* Four rows at once share the weights. A register holds taps (t, t+1) of R, G, B in its lower half and (t+2, t+3) in
 * its upper one: one multiply-add is twelve products. */
AVX2 static void avx2_rgb_rows(const Axis *axis, const uint8_t *const in[4], uint8_t *const out[4])
{
    const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
                                           6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i uppers = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), lowers = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    for (int i = 0; i < axis->count; i++) {
        const int16_t *weights = axis->weights + (size_t)i * axis->groups * 8;
        size_t at = (size_t)axis->first[i] * 3;
        __m256i upper[4], lower[4];
        for (int r = 0; r < 4; r++) upper[r] = lower[r] = _mm256_setzero_si256();
        for (int t = 0; t < axis->taps[i]; t += 4, at += 12, weights += 8) {
            __m256i both = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)weights));
            __m256i w_upper = _mm256_permutevar8x32_epi32(both, uppers);
            __m256i w_lower = _mm256_permutevar8x32_epi32(both, lowers);
            for (int r = 0; r < 4; r++) {
                __m256i pixels = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(in[r] + at)));
                pixels = _mm256_shuffle_epi8(pixels, pairs);
                upper[r] = _mm256_add_epi32(upper[r], _mm256_madd_epi16(pixels, w_upper));
                lower[r] = _mm256_add_epi32(lower[r], _mm256_madd_epi16(pixels, w_lower));
            }
        }
        __m128i sums[4];
        for (int r = 0; r < 4; r++) {
            __m256i sum = whole(upper[r], lower[r]);
            __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            sums[r] = _mm_srai_epi32(_mm_add_epi32(half, _mm_set1_epi32(ROUND)), WEIGHT_BITS);
        }
        __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(sums[0], sums[1]), _mm_packs_epi32(sums[2], sums[3]));
        int four[4]; /* R, G, B and a byte that the next pixel overwrites */
        _mm_storeu_si128((__m128i *)four, bytes);
        for (int r = 0; r < 4; r++) memcpy(out[r] + (size_t)i * 3, &four[r], 4);
    }
}

/* One row of one channel, sixteen taps at a time: weights of two groups of four, twice. */
AVX2 static void avx2_grey_row(const Axis *axis, const uint8_t *in, uint8_t *out)
{
    for (int i = 0; i < axis->count; i++) {
        const int16_t *weights = axis->weights + (size_t)i * axis->groups * 8;
        const uint8_t *from = in + axis->first[i];
        __m128i upper = _mm_setzero_si128(), lower = _mm_setzero_si128();
        for (int t = 0; t < axis->taps[i]; t += 4, weights += 8) {
            int four;
            memcpy(&four, from + t, 4);
            __m128i pixels = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(four));
            __m128i both = _mm_loadu_si128((const __m128i *)weights);
            upper = _mm_add_epi32(upper, _mm_madd_epi16(pixels, both));
            lower = _mm_add_epi32(lower, _mm_madd_epi16(pixels, _mm_unpackhi_epi64(both, both)));
        }
        __m128i sum = _mm_add_epi32(_mm_slli_epi32(upper, LOWER_BITS), lower);
        sum = _mm_add_epi32(sum, _mm_srli_epi64(sum, 32));
        out[i] = clipped(_mm_cvtsi128_si32(sum) + ROUND);
    }
}

AVX2 static int avx2_column(const int16_t *weights, int taps, const uint8_t *const *rows, int bytes, uint8_t *out)
{
    int b = 0;
    for (; b + 16 <= bytes; b += 16) {
        __m256i upper[2], lower[2];
        for (int h = 0; h < 2; h++) upper[h] = lower[h] = _mm256_setzero_si256();
        for (int t = 0; t < taps; t += 2) {
            int w_upper, w_lower; /* the weights of two taps */
            memcpy(&w_upper, weights + t / 4 * 8 + t % 4, 4);
            memcpy(&w_lower, weights + t / 4 * 8 + t % 4 + 4, 4);
            __m256i u = _mm256_set1_epi32(w_upper), l = _mm256_set1_epi32(w_lower);
            __m128i one = _mm_loadu_si128((const __m128i *)(rows[t] + b));
            __m128i two = _mm_loadu_si128((const __m128i *)(rows[t + 1 < taps ? t + 1 : t] + b));
            __m256i low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(one, two));
            __m256i high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(one, two));
            upper[0] = _mm256_add_epi32(upper[0], _mm256_madd_epi16(low, u));
            lower[0] = _mm256_add_epi32(lower[0], _mm256_madd_epi16(low, l));
            upper[1] = _mm256_add_epi32(upper[1], _mm256_madd_epi16(high, u));
            lower[1] = _mm256_add_epi32(lower[1], _mm256_madd_epi16(high, l));
        }
        __m256i sums[2];
        for (int h = 0; h < 2; h++) {
            __m256i sum = _mm256_add_epi32(whole(upper[h], lower[h]), _mm256_set1_epi32(ROUND));
            sums[h] = _mm256_srai_epi32(sum, WEIGHT_BITS);
        }
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[0], sums[1]), 0xD8);
        __m128i packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(out + b), packed);
    }
    return b;
}

static int has_avx2(void)
{
    static int known = -1;
    if (known < 0) known = __builtin_cpu_supports("avx2") != 0;
    return known;
}

#endif

void resample_rows(const Axis *axis, int channels, const uint8_t *const in[4], uint8_t *const out[4])
{
#ifdef HAVE_AVX2_CODE
    if (channels == 3 && has_avx2()) {
        avx2_rgb_rows(axis, in, out);
        return;
    }
    if (channels == 1 && has_avx2()) {
        for (int r = 0; r < 4; r++) avx2_grey_row(axis, in[r], out[r]);
        return;
    }
#endif
    for (int r = 0; r < 4; r++) plain_row(axis, channels, in[r], out[r]);
}

void resample_column(const Axis *axis, int i, const uint8_t *const *rows, int bytes, uint8_t *out)
{
    const int16_t *weights = axis->weights + (size_t)i * axis->groups * 8;
    int from = 0;
#ifdef HAVE_AVX2_CODE
    if (has_avx2()) from = avx2_column(weights, axis->taps[i], rows, bytes, out);
#endif
    plain_column(weights, axis->taps[i], rows, from, bytes, out);
}
