// Layer norm as Paddle operators, on the CPU and in float32: `mae_norm` and `mae_norm_backward`.
#include "paddle/extension.h"

#include "cpu_block.h"

namespace {

using mae::cpu::NormSizes;
using paddle::DataType;
using paddle::Tensor;

Tensor floats(std::vector<int64_t> shape, const Tensor& like) {
  return paddle::empty(shape, DataType::FLOAT32, like.place());
}

NormSizes sizes_of(const Tensor& x, const Tensor& weight, float epsilon) {
  const auto shape = x.shape();
  const bool fits = !shape.empty() && shape.back() > 0 && x.is_cpu() && x.dtype() == DataType::FLOAT32 &&
                    weight.dtype() == DataType::FLOAT32 && weight.shape() == std::vector<int64_t>{shape.back()};
  if (!fits) PD_THROW("mae_core: layer norm takes float32 [..., D] and weights [D] on the CPU");
  return {x.numel() / shape.back(), shape.back(), epsilon};
}

std::vector<Tensor> Norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) {
  const NormSizes s = sizes_of(x, weight, epsilon);
  sizes_of(x, bias, epsilon);
  std::vector<Tensor> results{floats(x.shape(), x), floats({s.rows}, x), floats({s.rows}, x)};
  mae::cpu::norm(s, x.data<float>(), weight.data<float>(), bias.data<float>(), results[1].data<float>(),
                 results[2].data<float>(), results[0].data<float>());
  return results;
}

std::vector<Tensor> NormBackward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inverse,
                                 const Tensor& grad) {
  const NormSizes s = sizes_of(x, weight, 0.0f);
  if (grad.shape() != x.shape()) PD_THROW("mae_core: the gradient has another shape than the result");
  std::vector<Tensor> grads{floats(x.shape(), x), floats({s.dim}, x), floats({s.dim}, x)};
  Tensor scratch = floats({mae::cpu::norm_backward_scratch(s)}, x);
  mae::cpu::norm_backward(s, grad.data<float>(), x.data<float>(), weight.data<float>(), mean.data<float>(),
                          inverse.data<float>(), nullptr, scratch.data<float>(), grads[0].data<float>(),
                          grads[1].data<float>(), grads[2].data<float>());
  return grads;
}

}  // namespace

PD_BUILD_OP(mae_norm)
    .Inputs({"x", "weight", "bias"})
    .Outputs({"out", "mean", "inverse"})
    .Attrs({"epsilon: float"})
    .SetKernelFn(PD_KERNEL(Norm));

PD_BUILD_OP(mae_norm_backward)
    .Inputs({"x", "weight", "mean", "inverse", "grad"})
    .Outputs({"grad_x", "grad_weight", "grad_bias"})
    .SetKernelFn(PD_KERNEL(NormBackward));
