// The kernels as Paddle operators: shapes and types, memory, and the choice between CPU and CUDA.
//
// `draw` decides the mask: float32 [N, L] is the noise itself, int64 [N] are sample numbers for Philox.
#include "paddle/extension.h"

#include "cpu_kernels.h"
#include "launchers.h"

namespace {

using paddle::DataType;
using paddle::Tensor;
using Shape = std::vector<int64_t>;

#define MAE_REQUIRE(condition, message) \
  if (!(condition)) PD_THROW("mae_core: ", message)

int32_t dtype_of(const Tensor& x) {
  switch (x.dtype()) {
    case DataType::UINT8: return mae::kUInt8;
    case DataType::INT16: return mae::kUInt16;  // the same bits: Paddle has no uint16
    case DataType::FLOAT32: return mae::kFloat32;
    case DataType::FLOAT16: return mae::kFloat16;
    case DataType::BFLOAT16: return mae::kBFloat16;
    default: PD_THROW("mae_core: the type is not uint8, int16, float32, float16 or bfloat16");
  }
}

// The tensor's memory, whatever its type.
template <class T>
T* pointer(Tensor& x) {
  return static_cast<T*>(x.data());
}
const void* pointer(const Tensor& x) { return x.data(); }

void* stream_of(const Tensor& x) {
#ifdef MAE_WITH_CUDA
  return static_cast<void*>(x.stream());
#else
  (void)x;
  return nullptr;
#endif
}

// Run the kernel of the tensor's device.
template <class OnCpu, class OnGpu>
void run_on_device_of(const Tensor& x, OnCpu on_cpu, OnGpu on_gpu) {
  (void)on_gpu;
#ifdef MAE_WITH_CUDA
  if (x.is_gpu()) {
    const int error = on_gpu();
    MAE_REQUIRE(error == 0, "the CUDA kernel could not be launched, error " + std::to_string(error));
    return;
  }
#endif
  MAE_REQUIRE(x.is_cpu(), "this build has kernels for the CPU only");
  MAE_REQUIRE(on_cpu() == 0, "shapes or types do not fit each other");
}

struct Masking {
  Tensor ids_keep, ids_remove, ids_restore, mask;
  mae::MaskingArgs args;
};

Masking make_masking(const Tensor& draw, int64_t length, int64_t keep, int64_t seed, int64_t epoch) {
  const Shape shape = draw.shape();
  const bool is_noise = draw.dtype() == DataType::FLOAT32;
  MAE_REQUIRE(is_noise || draw.dtype() == DataType::INT64, "noise is float32 [N, L], sample numbers are int64 [N]");
  MAE_REQUIRE(shape.size() == (is_noise ? 2 : 1), "noise is float32 [N, L], sample numbers are int64 [N]");
  MAE_REQUIRE(!is_noise || shape[1] == length, "noise has another number of patches than what it masks");
  MAE_REQUIRE(length >= 1 && length <= INT32_MAX && keep >= 0 && keep <= length, "0 <= keep <= L and L >= 1 must hold");
  const int64_t n = shape[0];
  const auto place = draw.place();
  Masking m{paddle::empty({n, keep}, DataType::INT64, place), paddle::empty({n, length - keep}, DataType::INT64, place),
            paddle::empty({n, length}, DataType::INT64, place), paddle::empty({n, length}, DataType::FLOAT32, place), {}};
  m.args.noise = is_noise ? draw.data<float>() : nullptr;
  m.args.index = is_noise ? nullptr : draw.data<int64_t>();
  m.args.ids_keep = pointer<int64_t>(m.ids_keep);
  m.args.ids_remove = pointer<int64_t>(m.ids_remove);
  m.args.ids_restore = pointer<int64_t>(m.ids_restore);
  m.args.mask = pointer<float>(m.mask);
  m.args.samples = n;
  m.args.seed = static_cast<uint64_t>(seed);
  m.args.epoch = static_cast<uint32_t>(epoch);
  m.args.length = static_cast<int32_t>(length);
  m.args.keep = static_cast<int32_t>(keep);
  return m;
}

// Images as stored (uint8, the bits of uint16 as int16, float32) are [N, H, W, C]; normalised floats [N, C, H, W].
mae::ImageArgs make_image(const Tensor& image, const Tensor& scale, const Tensor& shift, int64_t patch, bool stored) {
  const Shape shape = image.shape();
  MAE_REQUIRE(shape.size() == 4, "images are [N, H, W, C] as stored, or normalised [N, C, H, W]");
  const int64_t height = shape[stored ? 1 : 2], width = shape[stored ? 2 : 3], channels = shape[stored ? 3 : 1];
  MAE_REQUIRE(patch >= 1 && height % patch == 0 && width % patch == 0, "height and width are no multiples of the patch");
  MAE_REQUIRE(scale.numel() == channels && shift.numel() == channels, "scale and shift need a number for each channel");
  MAE_REQUIRE(scale.dtype() == DataType::FLOAT32 && shift.dtype() == DataType::FLOAT32, "scale and shift are float32");
  MAE_REQUIRE(height * width * channels <= INT32_MAX, "an image has more than 2**31 values");
  mae::ImageArgs args{};
  args.pixels = pointer(image);
  args.scale = stored ? scale.data<float>() : nullptr;
  args.shift = stored ? shift.data<float>() : nullptr;
  args.stride_n = height * width * channels;
  args.stride_y = stored ? width * channels : width;
  args.stride_x = stored ? channels : 1;
  args.stride_c = stored ? 1 : height * width;
  args.dtype = dtype_of(image);
  args.height = static_cast<int32_t>(height);
  args.width = static_cast<int32_t>(width);
  args.channels = static_cast<int32_t>(channels);
  args.patch = static_cast<int32_t>(patch);
  return args;
}

int64_t patch_count(const mae::ImageArgs& image) {
  return static_cast<int64_t>(image.height / image.patch) * (image.width / image.patch);
}

// ---- ids and mask alone

std::vector<Tensor> Mask(const Tensor& draw, int64_t length, int64_t keep, int64_t seed, int64_t epoch) {
  Masking m = make_masking(draw, length, keep, seed, epoch);
  run_on_device_of(
      draw, [&] { return mae::cpu::mask(m.args); }, [&] { return mae_mask(&m.args, stream_of(draw)); });
  return {m.ids_keep, m.ids_remove, m.ids_restore, m.mask};
}

std::vector<Shape> MaskShapes(const Shape& draw, const int64_t& length, const int64_t& keep, const int64_t&,
                              const int64_t&) {
  return {{draw[0], keep}, {draw[0], length - keep}, {draw[0], length}, {draw[0], length}};
}

std::vector<DataType> MaskTypes(const DataType&) {
  return {DataType::INT64, DataType::INT64, DataType::INT64, DataType::FLOAT32};
}

// ---- tokens

std::vector<Tensor> MaskTokens(const Tensor& x, const Tensor& draw, int64_t keep, int64_t seed, int64_t epoch) {
  const Shape shape = x.shape();
  MAE_REQUIRE(shape.size() == 3 && shape[2] <= INT32_MAX / 4, "tokens are [N, L, D]");
  MAE_REQUIRE(draw.shape()[0] == shape[0], "tokens and noise have different numbers of samples");
  MAE_REQUIRE(dtype_of(x) != mae::kUInt8 && dtype_of(x) != mae::kUInt16, "tokens are float32, float16 or bfloat16");
  Masking m = make_masking(draw, shape[1], keep, seed, epoch);
  Tensor visible = paddle::empty({shape[0], keep, shape[2]}, x.dtype(), x.place());
  const int32_t dim = static_cast<int32_t>(shape[2]), size = x.dtype() == DataType::FLOAT32 ? 4 : 2;
  run_on_device_of(
      x, [&] { return mae::cpu::mask_tokens(m.args, pointer(x), dim, size, visible.data()); },
      [&] {
        return mae_mask_tokens(&m.args, pointer(x), shape[1] * shape[2], shape[2], dim, size, visible.data(),
                               stream_of(x));
      });
  return {visible, m.ids_keep, m.ids_remove, m.ids_restore, m.mask};
}

std::vector<Shape> MaskTokensShapes(const Shape& x, const Shape& draw, const int64_t& keep, const int64_t& seed,
                                    const int64_t& epoch) {
  std::vector<Shape> shapes = MaskShapes(draw, x[1], keep, seed, epoch);
  shapes.insert(shapes.begin(), {draw[0], keep, x[2]});
  return shapes;
}

std::vector<DataType> MaskTokensTypes(const DataType& x, const DataType&) {
  return {x, DataType::INT64, DataType::INT64, DataType::INT64, DataType::FLOAT32};
}

std::vector<Tensor> MaskTokensGrad(const Tensor& ids_restore, const Tensor& grad_visible) {
  const Shape shape = grad_visible.shape();
  const int64_t n = shape[0], length = ids_restore.shape()[1];
  Tensor grad_x = paddle::empty({n, length, shape[2]}, grad_visible.dtype(), grad_visible.place());
  const int32_t l = static_cast<int32_t>(length), k = static_cast<int32_t>(shape[1]);
  const int32_t dim = static_cast<int32_t>(shape[2]), size = grad_visible.dtype() == DataType::FLOAT32 ? 4 : 2;
  const void* from = pointer(grad_visible);
  const int64_t* ids = ids_restore.data<int64_t>();
  run_on_device_of(
      grad_visible, [&] { return mae::cpu::mask_tokens_backward(from, ids, n, l, k, dim, size, grad_x.data()); },
      [&] { return mae_mask_tokens_backward(from, ids, n, l, k, dim, size, grad_x.data(), stream_of(grad_visible)); });
  return {grad_x};
}

std::vector<Shape> MaskTokensGradShapes(const Shape& ids_restore, const Shape& grad_visible) {
  return {{ids_restore[0], ids_restore[1], grad_visible[2]}};
}

// ---- images

std::vector<Tensor> MaskImage(const Tensor& image, const Tensor& scale, const Tensor& shift, const Tensor& draw,
                              int64_t patch, int64_t keep, int64_t seed, int64_t epoch, bool stored) {
  const mae::ImageArgs args = make_image(image, scale, shift, patch, stored);
  MAE_REQUIRE(draw.shape()[0] == image.shape()[0], "images and noise have different numbers of samples");
  Masking m = make_masking(draw, patch_count(args), keep, seed, epoch);
  const DataType dtype = stored ? DataType::FLOAT32 : image.dtype();
  Tensor visible = paddle::empty({image.shape()[0], keep, patch * patch * args.channels}, dtype, image.place());
  run_on_device_of(
      image, [&] { return mae::cpu::mask_image(m.args, args, visible.data()); },
      [&] { return mae_mask_image(&m.args, &args, visible.data(), dtype_of(visible), stream_of(image)); });
  return {visible, m.ids_keep, m.ids_remove, m.ids_restore, m.mask};
}

std::vector<Shape> MaskImageShapes(const Shape& image, const Shape& scale, const Shape&, const Shape& draw,
                                   const int64_t& patch, const int64_t& keep, const int64_t& seed,
                                   const int64_t& epoch, const bool&) {
  // The order of the axes is not known here; the product of all but the channels is.
  int64_t length = -1;
  if (image[1] > 0 && image[2] > 0 && image[3] > 0) {
    length = image[1] * image[2] * image[3] / scale[0] / (patch * patch);
  }
  std::vector<Shape> shapes = MaskShapes(draw, length, keep, seed, epoch);
  if (length < 0) shapes[1][1] = -1;
  shapes.insert(shapes.begin(), {draw[0], keep, patch * patch * scale[0]});
  return shapes;
}

std::vector<DataType> MaskImageTypes(const DataType& image, const DataType&, const DataType&, const DataType&) {
  const bool is_integer = image == DataType::UINT8 || image == DataType::INT16;
  const DataType visible = is_integer ? DataType::FLOAT32 : image;
  return {visible, DataType::INT64, DataType::INT64, DataType::INT64, DataType::FLOAT32};
}

// ---- loss

mae::LossArgs make_loss(const mae::ImageArgs& image, const Tensor& pred, const Tensor& ids_remove, bool norm_pix,
                        Tensor& error, float numerator) {
  const Shape shape = pred.shape();
  const int64_t patch_elements = static_cast<int64_t>(image.patch) * image.patch * image.channels;
  MAE_REQUIRE(shape.size() == 3 && shape[2] == patch_elements, "the prediction is [N, R, p*p*C]");
  MAE_REQUIRE(ids_remove.shape() == Shape({shape[0], shape[1]}), "ids_remove is [N, R] as the prediction is [N, R, P]");
  MAE_REQUIRE(shape[0] * shape[1] > 0, "no patch is removed, so there is no loss");
  mae::LossArgs args{};
  args.pred = pointer(pred);
  args.ids_remove = ids_remove.data<int64_t>();
  args.error = pointer<int32_t>(error);
  args.samples = shape[0];
  args.removed = static_cast<int32_t>(shape[1]);
  args.pred_dtype = dtype_of(pred);
  args.norm_pix = norm_pix;
  args.factor = static_cast<float>(numerator / (static_cast<double>(shape[0]) * shape[1] * patch_elements));
  return args;
}

// On a GPU the flag is not read, since that would wait for the device: a wrong id adds nothing to the loss there.
void refuse_wrong_ids(const Tensor& error) {
  MAE_REQUIRE(!error.is_cpu() || error.data<int32_t>()[0] == 0, "ids_remove holds a number outside [0, L)");
}

std::vector<Tensor> PixelLoss(const Tensor& pred, const Tensor& image, const Tensor& scale, const Tensor& shift,
                              const Tensor& ids_remove, int64_t patch, bool norm_pix, bool stored) {
  const mae::ImageArgs pixels = make_image(image, scale, shift, patch, stored);
  MAE_REQUIRE(pred.shape()[0] == image.shape()[0], "prediction and images have different numbers of samples");
  Tensor error = paddle::full({1}, 0, DataType::INT32, pred.place());
  const mae::LossArgs args = make_loss(pixels, pred, ids_remove, norm_pix, error, 1.0f);
  Tensor partial = paddle::empty(ids_remove.shape(), DataType::FLOAT32, pred.place());
  Tensor loss = paddle::empty({}, DataType::FLOAT32, pred.place());
  float *sums = pointer<float>(partial), *total = pointer<float>(loss);
  run_on_device_of(
      pred, [&] { return mae::cpu::pixel_loss(pixels, args, sums, total); },
      [&] { return mae_pixel_loss(&pixels, &args, sums, total, stream_of(pred)); });
  refuse_wrong_ids(error);
  return {loss};
}

std::vector<Shape> PixelLossShapes(const Shape&, const Shape&, const Shape&, const Shape&, const Shape&,
                                   const int64_t&, const bool&, const bool&) {
  return {{}};
}

std::vector<DataType> PixelLossTypes(const DataType&, const DataType&, const DataType&, const DataType&,
                                     const DataType&) {
  return {DataType::FLOAT32};
}

std::vector<Tensor> PixelLossGrad(const Tensor& pred, const Tensor& image, const Tensor& scale, const Tensor& shift,
                                  const Tensor& ids_remove, const Tensor& grad_loss, int64_t patch, bool norm_pix,
                                  bool stored) {
  const mae::ImageArgs pixels = make_image(image, scale, shift, patch, stored);
  Tensor error = paddle::full({1}, 0, DataType::INT32, pred.place());
  const mae::LossArgs args = make_loss(pixels, pred, ids_remove, norm_pix, error, 2.0f);
  Tensor grad_pred = paddle::empty(pred.shape(), pred.dtype(), pred.place());
  const float* grad = grad_loss.data<float>();
  run_on_device_of(
      pred, [&] { return mae::cpu::pixel_loss_backward(pixels, args, *grad, pointer<float>(grad_pred)); },
      [&] { return mae_pixel_loss_backward(&pixels, &args, grad, grad_pred.data(), stream_of(pred)); });
  return {grad_pred};
}

std::vector<Shape> PixelLossGradShapes(const Shape& pred, const Shape&, const Shape&, const Shape&, const Shape&,
                                       const Shape&, const int64_t&, const bool&, const bool&) {
  return {pred};
}

}  // namespace

PD_BUILD_OP(mae_mask)
    .Inputs({"draw"})
    .Outputs({"ids_keep", "ids_remove", "ids_restore", "mask"})
    .Attrs({"length: int64_t", "keep: int64_t", "seed: int64_t", "epoch: int64_t"})
    .SetKernelFn(PD_KERNEL(Mask))
    .SetInferShapeFn(PD_INFER_SHAPE(MaskShapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(MaskTypes));

PD_BUILD_OP(mae_mask_tokens)
    .Inputs({"x", "draw"})
    .Outputs({"visible", "ids_keep", "ids_remove", "ids_restore", "mask"})
    .Attrs({"keep: int64_t", "seed: int64_t", "epoch: int64_t"})
    .SetKernelFn(PD_KERNEL(MaskTokens))
    .SetInferShapeFn(PD_INFER_SHAPE(MaskTokensShapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(MaskTokensTypes));

PD_BUILD_GRAD_OP(mae_mask_tokens)
    .Inputs({"ids_restore", paddle::Grad("visible")})
    .Outputs({paddle::Grad("x")})
    .SetKernelFn(PD_KERNEL(MaskTokensGrad))
    .SetInferShapeFn(PD_INFER_SHAPE(MaskTokensGradShapes));

PD_BUILD_OP(mae_mask_image)
    .Inputs({"image", "scale", "shift", "draw"})
    .Outputs({"visible", "ids_keep", "ids_remove", "ids_restore", "mask"})
    .Attrs({"patch: int64_t", "keep: int64_t", "seed: int64_t", "epoch: int64_t", "stored: bool"})
    .SetKernelFn(PD_KERNEL(MaskImage))
    .SetInferShapeFn(PD_INFER_SHAPE(MaskImageShapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(MaskImageTypes));

PD_BUILD_OP(mae_pixel_loss)
    .Inputs({"pred", "image", "scale", "shift", "ids_remove"})
    .Outputs({"loss"})
    .Attrs({"patch: int64_t", "norm_pix: bool", "stored: bool"})
    .SetKernelFn(PD_KERNEL(PixelLoss))
    .SetInferShapeFn(PD_INFER_SHAPE(PixelLossShapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(PixelLossTypes));

PD_BUILD_GRAD_OP(mae_pixel_loss)
    .Inputs({"pred", "image", "scale", "shift", "ids_remove", paddle::Grad("loss")})
    .Outputs({paddle::Grad("pred")})
    .Attrs({"patch: int64_t", "norm_pix: bool", "stored: bool"})
    .SetKernelFn(PD_KERNEL(PixelLossGrad))
    .SetInferShapeFn(PD_INFER_SHAPE(PixelLossGradShapes));
