// Loops over one row of pixels, compiled once an instruction set and chosen when the library is loaded.
#pragma once

#include <cstdint>

// GCC resolves the choice through glibc; elsewhere the compiler's default has to do.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define MAE_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MAE_VECTORISED
#endif

namespace mae {

// Sums run over 16 lanes in a fixed order, so that they vectorise and do not depend on the vector's width.
constexpr int kLanes = 16;

// out[i] = pixels[i] * scale[i] + shift[i]
void normalize_row(const uint8_t* pixels, const float* scale, const float* shift, int64_t count, float* out);
void normalize_row(const uint16_t* pixels, const float* scale, const float* shift, int64_t count, float* out);
void normalize_row(const float* pixels, const float* scale, const float* shift, int64_t count, float* out);

// Sum of x[i] - origin.
float distances_row(const float* x, int64_t count, float origin);

// Sum of (x[i] - mean)^2.
float squares_row(const float* x, int64_t count, float mean);

// Sum of (pred[i] - (target[i] - mean) * inverse)^2.
float error_row(const float* pred, const float* target, int64_t count, float mean, float inverse);

// grad[i] = factor * (pred[i] - (target[i] - mean) * inverse)
void error_gradient_row(const float* pred, const float* target, int64_t count, float mean, float inverse,
                        float factor, float* grad);

}  // namespace mae
