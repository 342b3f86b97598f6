// The C functions of launchers.h: check the arguments, pick the types and the width, launch.
#include "launchers.h"

#include <type_traits>

#include "masked_pixel_loss.cuh"
#include "random_masking.cuh"

namespace mae {
namespace {

template <class Run>
cudaError_t with_float_type(int32_t dtype, Run run) {
  switch (dtype) {
    case kFloat32: return run(float{});
    case kFloat16: return run(Half{});
    case kBFloat16: return run(BFloat16{});
    default: return cudaErrorInvalidValue;
  }
}

template <class Run>
cudaError_t with_stored_type(int32_t dtype, Run run) {
  switch (dtype) {
    case kUInt8: return run(uint8_t{});
    case kUInt16: return run(uint16_t{});
    case kFloat32: return run(StoredFloat{});
    default: return cudaErrorInvalidValue;
  }
}

template <class Run>
cudaError_t with_width(int32_t width, Run run) {
  switch (width) {
    case 4: return run(std::integral_constant<int, 4>{});
    case 2: return run(std::integral_constant<int, 2>{});
    default: return run(std::integral_constant<int, 1>{});
  }
}

int64_t size_of(int32_t dtype) { return dtype == kUInt8 ? 1 : dtype == kFloat32 ? 4 : 2; }

uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// Call run(view, other type, width) for an image and contiguous arrays of patches beside it, whose addresses are
// joined by `or`.
template <class Run>
cudaError_t with_view(const ImageArgs& image, int32_t dtype, uint64_t addresses, Run run) {
  const uint64_t elements = addresses / static_cast<uint64_t>(size_of(dtype));
  return with_float_type(dtype, [&](auto other) {
    if (image.scale == nullptr) {
      return with_float_type(image.dtype, [&](auto pixel) {
        const auto view = make_patch_view<decltype(pixel), false>(image);
        return with_width(pack_width(image, elements), [&](auto width) { return run(view, other, width); });
      });
    }
    return with_stored_type(image.dtype, [&](auto pixel) {
      using Pixel = decltype(pixel);
      if (address(image.pixels) % sizeof(Pixel) != 0) return cudaErrorInvalidValue;
      if (!has_packed_rows(image)) {
        return run(make_patch_view<Pixel, false>(image), other, std::integral_constant<int, 1>{});
      }
      const uint64_t strides = static_cast<uint64_t>(image.stride_n) | static_cast<uint64_t>(image.stride_y);
      const int32_t width = pack_width(image, elements | strides | address(image.pixels) / sizeof(Pixel));
      const auto view = make_patch_view<Pixel, true>(image);
      return with_width(width, [&](auto constant) { return run(view, other, constant); });
    });
  });
}

cudaError_t mask_tokens(const MaskingArgs& args, const void* x, int64_t stride_n, int64_t stride_l, int32_t dim,
                        int32_t element_size, void* visible, cudaStream_t stream) {
  const int64_t row_bytes = static_cast<int64_t>(dim) * element_size;
  const int64_t bytes_n = stride_n * element_size, bytes_l = stride_l * element_size;
  const uint64_t access = address(x) | address(visible) | static_cast<uint64_t>(row_bytes) |
                          static_cast<uint64_t>(bytes_n) | static_cast<uint64_t>(bytes_l);
  return with_access(access, [&](auto vec) {
    using Vec = decltype(vec);
    constexpr int64_t kSize = sizeof(Vec);
    return launch_with_ranks(args, stream, [&](dim3 grid, bool inside) {
      return launch(mask_tokens_kernel<Vec>, grid, kThreads, 0, stream, args, inside, static_cast<const Vec*>(x),
                    bytes_n / kSize, bytes_l / kSize, static_cast<int32_t>(row_bytes / kSize),
                    static_cast<Vec*>(visible));
    });
  });
}

template <class T, bool kPacked, class Out, class Width>
cudaError_t launch_mask_image(const MaskingArgs& args, const PatchView<T, kPacked>& view, Out* visible, Width,
                              cudaStream_t stream) {
  const size_t table_bytes = kPacked ? static_cast<size_t>(table_floats(view.row_elements)) * sizeof(float) : 0;
  return launch_with_ranks(args, stream, [&](dim3 grid, bool inside) {
    return launch(mask_image_kernel<T, kPacked, Out, Width::value>, grid, kThreads, table_bytes, stream, args, inside,
                  view, visible);
  });
}

template <class T, bool kPacked, class Pred, class Width>
cudaError_t launch_loss(const ImageArgs& image, const LossArgs& args, const PatchView<T, kPacked>& view, Pred, Width,
                        float* partial, cudaStream_t stream) {
  const LossPlan plan = make_loss_plan(image, args, kPacked);
  return launch(pixel_loss_kernel<T, kPacked, Pred, Width::value>, plan.grid, plan.threads, plan.shared_bytes, stream,
                args, view, plan.has_cache, partial);
}

template <class T, bool kPacked, class Pred, class Width>
cudaError_t launch_loss_backward(const ImageArgs& image, const LossArgs& args, const PatchView<T, kPacked>& view,
                                 const float* grad_loss, Pred* grad_pred, Width, cudaStream_t stream) {
  const LossPlan plan = make_loss_plan(image, args, kPacked);
  return launch(pixel_loss_backward_kernel<T, kPacked, Pred, Width::value>, plan.grid, plan.threads, plan.shared_bytes,
                stream, args, view, plan.has_cache, grad_loss, grad_pred);
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

bool is_element_size(int32_t size) { return size == 2 || size == 4; }

}  // namespace
}  // namespace mae

using mae::as_stream;

int mae_mask(const mae::MaskingArgs* masking, void* stream) {
  return mae::launch_ranks(*masking, as_stream(stream));
}

int mae_mask_tokens(const mae::MaskingArgs* masking, const void* x, int64_t stride_n, int64_t stride_l, int32_t dim,
                    int32_t element_size, void* visible, void* stream) {
  if (dim < 1 || dim > 2147483647 / 4 || !mae::is_element_size(element_size)) return cudaErrorInvalidValue;
  return mae::mask_tokens(*masking, x, stride_n, stride_l, dim, element_size, visible, as_stream(stream));
}

int mae_mask_tokens_backward(const void* grad_visible, const int64_t* ids_restore, int64_t samples, int32_t length,
                             int32_t keep, int32_t dim, int32_t element_size, void* grad_x, void* stream) {
  const bool is_usable = samples >= 0 && samples <= mae::kMaxGridX && length >= 1 && keep >= 0 && keep <= length &&
                         dim >= 1 && dim <= 2147483647 / 4 && mae::is_element_size(element_size);
  if (!is_usable) return cudaErrorInvalidValue;
  if (samples == 0) return cudaSuccess;
  const int64_t row_bytes = static_cast<int64_t>(dim) * element_size;
  const dim3 grid(static_cast<unsigned>(samples), static_cast<unsigned>(mae::blocks_per_sample(samples, length)));
  const uint64_t access =
      mae::address(grad_visible) | mae::address(grad_x) | static_cast<uint64_t>(row_bytes);
  return mae::with_access(access, [&](auto vec) {
    using Vec = decltype(vec);
    return mae::launch(mae::mask_tokens_backward_kernel<Vec>, grid, mae::kThreads, 0, as_stream(stream),
                       static_cast<const Vec*>(grad_visible), ids_restore, length, keep,
                       static_cast<int32_t>(row_bytes / static_cast<int64_t>(sizeof(Vec))),
                       static_cast<Vec*>(grad_x));
  });
}

int mae_mask_image(const mae::MaskingArgs* masking, const mae::ImageArgs* image, void* visible,
                   int32_t visible_dtype, void* stream) {
  if (!mae::is_usable(*image) || mae::patch_count(*image) != masking->length) return cudaErrorInvalidValue;
  return mae::with_view(*image, visible_dtype, mae::address(visible), [&](auto view, auto out, auto width) {
    return mae::launch_mask_image(*masking, view, static_cast<decltype(out)*>(visible), width, as_stream(stream));
  });
}

int mae_pixel_loss(const mae::ImageArgs* image, const mae::LossArgs* loss_args, float* partial, float* loss,
                   void* stream) {
  if (!mae::is_usable(*image) || !mae::is_usable(*loss_args)) return cudaErrorInvalidValue;
  const int64_t rows = loss_args->samples * loss_args->removed;
  if (rows > 0) {
    const uint64_t pred_address = mae::address(loss_args->pred);
    const cudaError_t error =
        mae::with_view(*image, loss_args->pred_dtype, pred_address, [&](auto view, auto pred, auto width) {
          return mae::launch_loss(*image, *loss_args, view, pred, width, partial, as_stream(stream));
        });
    if (error != cudaSuccess) return error;
  }
  return mae::launch(mae::sum_kernel, dim3(1), mae::kSumThreads, 0, as_stream(stream),
                     static_cast<const float*>(partial), rows, loss_args->factor, loss);
}

int mae_pixel_loss_backward(const mae::ImageArgs* image, const mae::LossArgs* loss_args, const float* grad_loss,
                            void* grad_pred, void* stream) {
  if (!mae::is_usable(*image) || !mae::is_usable(*loss_args)) return cudaErrorInvalidValue;
  if (loss_args->samples == 0 || loss_args->removed == 0) return cudaSuccess;
  const uint64_t addresses = mae::address(loss_args->pred) | mae::address(grad_pred);
  return mae::with_view(*image, loss_args->pred_dtype, addresses, [&](auto view, auto pred, auto width) {
    return mae::launch_loss_backward(*image, *loss_args, view, grad_loss, static_cast<decltype(pred)*>(grad_pred),
                                     width, as_stream(stream));
  });
}
