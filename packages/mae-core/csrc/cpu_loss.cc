// Squared error of predicted patches against the image itself, one thread per patch; the target is one patch long.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "cpu_image.h"
#include "cpu_kernels.h"
#include "parallel.h"

namespace mae {
namespace cpu {
namespace {

struct Target {
  const float* values;
  float mean;
  float inverse;
};

// Read a removed patch into this thread's buffer, with its statistics (unbiased variance) where they count.
Target read_target(const PatchReader& reader, const LossArgs& args, int64_t row, int64_t id) {
  thread_local std::vector<float> buffer;
  const int64_t count = reader.patch_elements();
  buffer.resize(static_cast<size_t>(count));
  reader.read(row / args.removed, id, buffer.data());
  if (args.norm_pix == 0) return Target{buffer.data(), 0.0f, 1.0f};
  // From the first pixel on: of a flat patch the mean is that pixel exactly, whose rounding would be divided by 1e-3.
  const float mean = buffer[0] + distances_row(buffer.data(), count, buffer[0]) / static_cast<float>(count);
  const float variance = squares_row(buffer.data(), count, mean) / static_cast<float>(count - 1);
  return Target{buffer.data(), mean, 1.0f / std::sqrt(variance + kNormPixEpsilon)};
}

bool fits(const ImageArgs& image, const LossArgs& args) {
  return is_usable(image) && (image.scale != nullptr || image.dtype == kFloat32) && args.pred_dtype == kFloat32 &&
         args.samples >= 0 && args.removed >= 0;
}

// Call visit(row, pred, target) for each removed patch; a row whose id is no patch has no target.
template <class Visit>
void for_removed(const ImageArgs& image, const LossArgs& args, Visit visit) {
  const PatchReader reader(image);
  const float* pred = static_cast<const float*>(args.pred);
  std::atomic<bool> is_wrong{false};
  parallel_for(args.samples * args.removed, [&](int64_t row) {
    const int64_t id = args.ids_remove[row];
    const bool is_patch = id >= 0 && id < reader.patches();
    if (!is_patch) is_wrong = true;
    const Target target = is_patch ? read_target(reader, args, row, id) : Target{nullptr, 0.0f, 0.0f};
    visit(row, pred + row * reader.patch_elements(), target);
  });
  if (is_wrong) *args.error = 1;
}

}  // namespace

int pixel_loss(const ImageArgs& image, const LossArgs& args, float* partial, float* loss) {
  if (!fits(image, args)) return 1;
  const int64_t count = static_cast<int64_t>(image.patch) * image.patch * image.channels;
  for_removed(image, args, [&](int64_t row, const float* pred, const Target& target) {
    partial[row] =
        target.values == nullptr ? 0.0f : error_row(pred, target.values, count, target.mean, target.inverse);
  });
  double total = 0.0;
  for (int64_t row = 0; row < args.samples * args.removed; ++row) total += partial[row];
  *loss = static_cast<float>(total * args.factor);
  return 0;
}

int pixel_loss_backward(const ImageArgs& image, const LossArgs& args, float grad_loss, float* grad_pred) {
  if (!fits(image, args)) return 1;
  const int64_t count = static_cast<int64_t>(image.patch) * image.patch * image.channels;
  const float factor = grad_loss * args.factor;
  for_removed(image, args, [&](int64_t row, const float* pred, const Target& target) {
    float* grad = grad_pred + row * count;
    if (target.values == nullptr) {
      std::fill(grad, grad + count, 0.0f);
    } else {
      error_gradient_row(pred, target.values, count, target.mean, target.inverse, factor, grad);
    }
  });
  return 0;
}

}  // namespace cpu
}  // namespace mae
