// Reading patches straight from an image of any layout.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "cuda_launch.cuh"
#include "launchers.h"
#include "layout.h"
#include "numeric.cuh"

namespace mae {

constexpr int32_t kMaxTableRow = 4096;

// kPacked: images as stored whose patch rows are contiguous. Their pixels are read in packs, and a table in shared
// memory holds scale and shift for each element of a patch row.
template <class T, bool kPacked>
struct PatchView {
  const T* pixels;
  const float* scale;
  const float* shift;
  int64_t stride_n, stride_y, stride_x, stride_c;
  Divider row_divider, channel_divider;
  int32_t channels, patch, grid_width;
  int32_t row_elements;    // patch * channels
  int32_t patch_elements;  // P = patch * row_elements
  int32_t patches;         // L

  __device__ __forceinline__ const T* first_pixel(int64_t sample, int32_t number) const {
    const int32_t grid_row = number / grid_width;
    const int32_t grid_column = number - grid_row * grid_width;
    return pixels + sample * stride_n + static_cast<int64_t>(grid_row) * patch * stride_y +
           static_cast<int64_t>(grid_column) * patch * stride_x;
  }
};

// Floats that a table takes, rounded up to a multiple of 16 bytes.
MAE_HOST_DEVICE int32_t table_floats(int32_t row_elements) { return (2 * row_elements + 3) / 4 * 4; }

// Fill the table [2, patch * channels] of scale and shift; all threads of the block take part.
template <class T, bool kPacked>
__device__ __forceinline__ void fill_table(const PatchView<T, kPacked>& view, float* table) {
  if constexpr (kPacked) {
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < view.row_elements; i += static_cast<int32_t>(blockDim.x)) {
      const int32_t c = i - view.channel_divider.quotient(i) * view.channels;
      table[i] = __ldg(view.scale + c);
      table[view.row_elements + i] = __ldg(view.shift + c);
    }
    __syncthreads();
  }
}

// Pixels as stored are normalised, those of other types are taken as they are.
template <class T>
__device__ __forceinline__ float normalized(T pixel, const float* scale, const float* shift, int32_t c) {
  if constexpr (kIsStored<T>) return fmaf(to_float(pixel), __ldg(scale + c), __ldg(shift + c));
  return to_float(pixel);
}

// Read elements [e, e + V) of a patch in the order (row, column, channel); V divides both e and a patch row.
template <int V, class T, bool kPacked>
__device__ __forceinline__ void load_pixels(const PatchView<T, kPacked>& view, const float* table, const T* first,
                                            int32_t e, float (&values)[V]) {
  const int32_t row = view.row_divider.quotient(e);
  const int32_t in_row = e - row * view.row_elements;
  if constexpr (kPacked) {
    using Floats = Pack<float, V>;
    const Pack<T, V> pack = load_pack<T, V>(first + (row * static_cast<int32_t>(view.stride_y) + in_row));
    const Floats scale = *reinterpret_cast<const Floats*>(table + in_row);
    const Floats shift = *reinterpret_cast<const Floats*>(table + view.row_elements + in_row);
#pragma unroll
    for (int j = 0; j < V; ++j) values[j] = fmaf(to_float(pack.at[j]), scale.at[j], shift.at[j]);
  } else {
    const int32_t column = view.channel_divider.quotient(in_row);
    int32_t c = in_row - column * view.channels;
    const T* at = first + row * view.stride_y + column * view.stride_x + c * view.stride_c;
#pragma unroll
    for (int j = 0; j < V; ++j) {
      values[j] = normalized(load_pack<T, 1>(at).at[0], view.scale, view.shift, c);
      const bool is_last = ++c == view.channels;
      at += is_last ? view.stride_x - (view.channels - 1) * view.stride_c : view.stride_c;
      if (is_last) c = 0;
    }
  }
}

inline int32_t patch_count(const ImageArgs& image) {
  return (image.height / image.patch) * (image.width / image.patch);
}
inline int32_t row_elements(const ImageArgs& image) { return image.patch * image.channels; }
inline int32_t patch_elements(const ImageArgs& image) { return image.patch * row_elements(image); }

inline bool is_usable(const ImageArgs& image) {
  if (image.channels < 1 || image.patch < 1 || image.height < 1 || image.width < 1) return false;
  if (image.height % image.patch != 0 || image.width % image.patch != 0) return false;
  const int64_t pixels = static_cast<int64_t>(image.height) * image.width;
  if (pixels * image.channels > 2147483647 || !is_dividable(row_elements(image), patch_elements(image))) return false;
  return has_sound_type(image);
}

template <class T, bool kPacked>
PatchView<T, kPacked> make_patch_view(const ImageArgs& image) {
  PatchView<T, kPacked> view{};
  view.pixels = static_cast<const T*>(image.pixels);
  view.scale = image.scale;
  view.shift = image.shift;
  view.stride_n = image.stride_n;
  view.stride_y = image.stride_y;
  view.stride_x = image.stride_x;
  view.stride_c = image.stride_c;
  view.channels = image.channels;
  view.patch = image.patch;
  view.grid_width = image.width / image.patch;
  view.row_elements = row_elements(image);
  view.patch_elements = patch_elements(image);
  view.patches = patch_count(image);
  view.row_divider = make_divider(view.row_elements);
  view.channel_divider = make_divider(view.channels);
  return view;
}

// Whether patch rows are contiguous, short enough for a table, and reached by 32-bit offsets.
inline bool has_packed_rows(const ImageArgs& image) {
  const int64_t reach = std::abs(image.stride_y) * image.patch + row_elements(image);
  return image.stride_c == 1 && image.stride_x == image.channels && row_elements(image) <= kMaxTableRow &&
         reach <= 2147483647;
}

// The widest pack of 4, 2 or 1 elements that divides patch rows and what is given: element counts and addresses
// in units of elements.
inline int32_t pack_width(const ImageArgs& image, uint64_t elements) {
  const uint64_t all = elements | static_cast<uint64_t>(row_elements(image));
  return all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}

}  // namespace mae
