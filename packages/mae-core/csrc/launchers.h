// The C interface of the CUDA kernels: no CUDA header is needed to include it.
//
// All pointers are device pointers, `stream` is a cudaStream_t. Nothing is allocated and nothing waits.
// Every function returns a cudaError_t as int; arguments that do not fit return cudaErrorInvalidValue (1)
// before anything is launched.
#pragma once

#include <cstdint>

namespace mae {

enum DType : int32_t { kUInt8 = 0, kFloat32 = 1, kFloat16 = 2, kBFloat16 = 3, kUInt16 = 4 };

// Which patches are kept: ranks of the noise, ties by patch number. K = keep <= L = length.
struct MaskingArgs {
  const float* noise;    // [N, L], or null: drawn by Philox
  const int64_t* index;  // [N] sample numbers, read when noise is null
  int64_t* ids_keep;     // [N, K], written
  int64_t* ids_remove;   // [N, L - K], written
  int64_t* ids_restore;  // [N, L], written
  float* mask;           // [N, L], written: 0 keep, 1 remove
  int64_t samples;       // N
  uint64_t seed;
  uint32_t epoch;
  int32_t length;  // L
  int32_t keep;    // K
};

// Images, cut into patches in the order (row, column, channel); L = height/patch * width/patch.
struct ImageArgs {
  const void* pixels;
  const float* scale;  // [C], or null; a pixel x as stored (uint8, uint16, float32) counts as
  const float* shift;  // [C], or null  fma(x, scale[c], shift[c]); without scale, float pixels are taken as they are
  int64_t stride_n, stride_y, stride_x, stride_c;  // in elements, so any layout of N, H, W, C will do
  int32_t dtype;                                   // DType
  int32_t height, width, channels, patch;          // height and width divisible by patch, and
                                                   // patch^3 * channels^2 below 2^32
};

// Whether integers, and they or float32 alone, come with scale and shift.
inline bool has_sound_type(const ImageArgs& image) {
  const bool is_integer = image.dtype == kUInt8 || image.dtype == kUInt16;
  if (image.scale == nullptr) return !is_integer;
  return image.shift != nullptr && (is_integer || image.dtype == kFloat32);
}

constexpr float kNormPixEpsilon = 1.0e-6f;  // added to a patch's variance

// Prediction of the removed patches, P = patch * patch * channels.
struct LossArgs {
  const void* pred;           // [N, R, P], contiguous
  const int64_t* ids_remove;  // [N, R]; an id outside [0, L) sets *error and adds nothing
  int32_t* error;             // [1], zeroed by the caller
  int64_t samples;            // N
  int32_t removed;            // R
  int32_t pred_dtype;         // DType, a float
  int32_t norm_pix;           // compare with pixels normalised within each patch (kNormPixEpsilon)
  float factor;               // forward: loss = factor * sum of squares; backward: see there
};

}  // namespace mae

extern "C" {

// Ranks alone.
int mae_mask(const mae::MaskingArgs* masking, void* stream);

// Ranks and kept tokens: x [N, L, D] with strides in elements (last dimension contiguous) -> visible [N, K, D].
// element_size is 2 or 4 bytes; tokens are copied bit by bit.
int mae_mask_tokens(const mae::MaskingArgs* masking, const void* x, int64_t stride_n, int64_t stride_l,
                    int32_t dim, int32_t element_size, void* visible, void* stream);

// Gradient of the kept tokens back in place: grad_visible [N, K, D], ids_restore [N, L] -> grad_x [N, L, D],
// zero where removed.
int mae_mask_tokens_backward(const void* grad_visible, const int64_t* ids_restore, int64_t samples,
                             int32_t length, int32_t keep, int32_t dim, int32_t element_size, void* grad_x,
                             void* stream);

// Ranks and kept patches, normalised: -> visible [N, K, P] of visible_dtype, a float.
int mae_mask_image(const mae::MaskingArgs* masking, const mae::ImageArgs* image, void* visible,
                   int32_t visible_dtype, void* stream);

// Squared error against the removed patches: partial [N, R], one per patch, loss [1] = factor * their sum.
// Sums run in a fixed order. factor = 1 / (N R P) gives the mean.
int mae_pixel_loss(const mae::ImageArgs* image, const mae::LossArgs* loss_args, float* partial, float* loss,
                   void* stream);

// grad_pred [N, R, P] = grad_loss[0] * factor * (pred - target), of pred's type; zero for a patch whose id
// is outside [0, L). factor = 2 / (N R P) is the mean's.
int mae_pixel_loss_backward(const mae::ImageArgs* image, const mae::LossArgs* loss_args, const float* grad_loss,
                            void* grad_pred, void* stream);
}
