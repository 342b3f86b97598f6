// A patch of an image of any layout as one row of values, on the CPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu_rows.h"
#include "launchers.h"

namespace mae {
namespace cpu {

struct PatchReader {
  explicit PatchReader(const ImageArgs& args) : image(args), row_elements(args.patch * args.channels) {
    if (!is_stored()) return;
    for (int32_t column = 0; column < image.patch; ++column) {
      scale.insert(scale.end(), image.scale, image.scale + image.channels);
      shift.insert(shift.end(), image.shift, image.shift + image.channels);
    }
  }

  // Whether pixels are normalised on the way.
  bool is_stored() const { return image.scale != nullptr; }

  int64_t patches() const { return static_cast<int64_t>(image.height / image.patch) * (image.width / image.patch); }
  int64_t patch_elements() const { return static_cast<int64_t>(image.patch) * row_elements; }

  // The element number of a patch's first pixel.
  int64_t first_pixel(int64_t sample, int64_t id) const {
    const int64_t grid_width = image.width / image.patch;
    return sample * image.stride_n + id / grid_width * image.patch * image.stride_y +
           id % grid_width * image.patch * image.stride_x;
  }

  // Pixels as stored, normalised.
  void read_stored(int64_t first, float* out) const {
    if (image.dtype == kUInt8) return read_normalized<uint8_t>(first, out);
    image.dtype == kUInt16 ? read_normalized<uint16_t>(first, out) : read_normalized<float>(first, out);
  }

  template <class T>
  void read_normalized(int64_t first, float* out) const {
    const T* pixels = static_cast<const T*>(image.pixels) + first;
    const bool is_packed = image.stride_c == 1 && image.stride_x == image.channels;
    std::vector<T> gathered(is_packed ? 0 : static_cast<size_t>(row_elements));
    for (int32_t row = 0; row < image.patch; ++row) {
      const T* from = pixels + row * image.stride_y;
      if (!is_packed) {
        gather_row(from, gathered.data());
        from = gathered.data();
      }
      normalize_row(from, scale.data(), shift.data(), row_elements, out + row * row_elements);
    }
  }

  // Pixels of type T as they are.
  template <class T>
  void read_values(int64_t first, T* out) const {
    const T* pixels = static_cast<const T*>(image.pixels) + first;
    for (int32_t row = 0; row < image.patch; ++row) gather_row(pixels + row * image.stride_y, out + row * row_elements);
  }

  void read(int64_t sample, int64_t id, float* out) const {
    const int64_t first = first_pixel(sample, id);
    is_stored() ? read_stored(first, out) : read_values<float>(first, out);
  }

  template <class T>
  void gather_row(const T* from, T* out) const {
    // Channel by channel: neighbours in a row are neighbours in memory where channels come first.
    for (int32_t c = 0; c < image.channels; ++c) {
      for (int32_t column = 0; column < image.patch; ++column) {
        out[column * image.channels + c] = from[column * image.stride_x + c * image.stride_c];
      }
    }
  }

  ImageArgs image;
  int32_t row_elements;
  std::vector<float> scale, shift;  // [patch * C], of one patch row
};

inline bool is_usable(const ImageArgs& image) {
  if (image.channels < 1 || image.patch < 1 || image.height < image.patch || image.width < image.patch) return false;
  if (image.height % image.patch != 0 || image.width % image.patch != 0) return false;
  return has_sound_type(image);
}

}  // namespace cpu
}  // namespace mae
