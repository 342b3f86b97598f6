#include "cpu_rows.h"

namespace mae {
namespace {

inline float add_lanes(const float (&lanes)[kLanes]) {
  float sum = 0.0f;
  for (int j = 0; j < kLanes; ++j) sum += lanes[j];
  return sum;
}

}  // namespace

MAE_VECTORISED
void normalize_row(const uint8_t* pixels, const float* scale, const float* shift, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(pixels[i]) * scale[i] + shift[i];
}

MAE_VECTORISED
void normalize_row(const uint16_t* pixels, const float* scale, const float* shift, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(pixels[i]) * scale[i] + shift[i];
}

MAE_VECTORISED
void normalize_row(const float* pixels, const float* scale, const float* shift, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = pixels[i] * scale[i] + shift[i];
}

MAE_VECTORISED
float distances_row(const float* x, int64_t count, float origin) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] += x[i + j] - origin;
  }
  for (int j = 0; i + j < count; ++j) lanes[j] += x[i + j] - origin;
  return add_lanes(lanes);
}

MAE_VECTORISED
float squares_row(const float* x, int64_t count, float mean) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] += (x[i + j] - mean) * (x[i + j] - mean);
  }
  for (int j = 0; i + j < count; ++j) lanes[j] += (x[i + j] - mean) * (x[i + j] - mean);
  return add_lanes(lanes);
}

MAE_VECTORISED
float error_row(const float* pred, const float* target, int64_t count, float mean, float inverse) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float error = pred[i + j] - (target[i + j] - mean) * inverse;
      lanes[j] += error * error;
    }
  }
  for (int j = 0; i + j < count; ++j) {
    const float error = pred[i + j] - (target[i + j] - mean) * inverse;
    lanes[j] += error * error;
  }
  return add_lanes(lanes);
}

MAE_VECTORISED
void error_gradient_row(const float* pred, const float* target, int64_t count, float mean, float inverse,
                        float factor, float* grad) {
  for (int64_t i = 0; i < count; ++i) grad[i] = factor * (pred[i] - (target[i] - mean) * inverse);
}

}  // namespace mae
