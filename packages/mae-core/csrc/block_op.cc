// The transformer block as Paddle operators, on the CPU and in float32, but for the products where the weights of the
// four linear layers come as bfloat16.
//
// `mae_block` gives the result alone, `mae_block_kept` also what `mae_block_backward` needs. `tensors` are the weights
// of BlockParameters in their order (without qkv_bias where `has_qkv_bias` is false), then, where `has_scales`, the
// float32 [2, N] scales of the attention's and of the MLP's branch.
#include "paddle/extension.h"

#include <cstring>
#include <type_traits>

#include "cpu_block.h"
#include "gemm.h"

namespace {

using mae::cpu::BlockActivations;
using mae::cpu::BlockParameters;
using mae::cpu::BlockScales;
using mae::cpu::BlockSizes;
using paddle::DataType;
using paddle::Tensor;

#define MAE_REQUIRE(condition, message) \
  if (!(condition)) PD_THROW("mae_core: ", message)

constexpr size_t kParameters = 12, kQkvBias = 3;

Tensor floats(std::vector<int64_t> shape, const Tensor& like) {
  return paddle::empty(shape, DataType::FLOAT32, like.place());
}

// The arguments of a block, checked.
struct Call {
  BlockSizes sizes;
  BlockParameters<const void> weights;
  bool rounds;  // whether the weights of linear layers are bfloat16
  BlockScales scales{nullptr, nullptr};
  std::vector<Tensor> tensors;  // the weights, with an empty one for a missing bias

  Call(const Tensor& x, const std::vector<Tensor>& given, int64_t heads, int64_t first, float epsilon,
       bool has_qkv_bias, bool has_scales)
      : tensors(given) {
    const auto shape = x.shape();
    MAE_REQUIRE(mae::gemm_library(), "neither MKL nor oneDNN is in this process");
    MAE_REQUIRE(shape.size() == 3 && x.is_cpu() && x.dtype() == DataType::FLOAT32,
                "tokens are float32 [N, L, D] on the CPU");
    MAE_REQUIRE(given.size() == kParameters - !has_qkv_bias + has_scales, "the number of weights is wrong");
    if (has_scales) {
      MAE_REQUIRE(given.back().shape() == std::vector<int64_t>({2, shape[0]}), "scales are [2, N]");
      scales = {given.back().data<float>(), given.back().data<float>() + shape[0]};
      tensors.pop_back();
    }
    if (!has_qkv_bias) tensors.insert(tensors.begin() + kQkvBias, Tensor());
    const int64_t dim = shape[2], hidden = tensors[8].shape()[1];
    sizes = {shape[0], shape[1], first, dim, heads, hidden, epsilon};
    MAE_REQUIRE(heads >= 1 && dim % heads == 0 && first >= 0 && first < shape[1],
                "heads divide D, and first is below L");
    rounds = tensors[2].dtype() == DataType::BFLOAT16;
    MAE_REQUIRE(!rounds || mae::gemm_takes_bfloat16(), "there are no products of bfloat16 on this processor");
    check_weights(dim, hidden);
    const void* data[kParameters];
    for (size_t i = 0; i < kParameters; ++i) data[i] = tensors[i].defined() ? tensors[i].data() : nullptr;
    std::memcpy(&weights, data, sizeof weights);
  }

  void check_weights(int64_t dim, int64_t hidden) const {
    const std::vector<int64_t> vector{dim}, wide{hidden};
    const std::vector<int64_t> expected[kParameters] = {vector, vector, {dim, 3 * dim}, {3 * dim}, {dim, dim}, vector,
                                                        vector, vector, {dim, hidden}, wide, {hidden, dim}, vector};
    for (size_t i = 0; i < kParameters; ++i) {
      const Tensor& t = tensors[i];
      const DataType type = rounds && expected[i].size() == 2 ? DataType::BFLOAT16 : DataType::FLOAT32;
      MAE_REQUIRE(!t.defined() || (t.shape() == expected[i] && t.dtype() == type && t.is_cpu()),
                  "weight " + std::to_string(i) + " of the block has another shape or type");
    }
  }
};

// The weights, with those of linear layers of type W.
template <class W>
BlockParameters<const float, const W> weights_of(const Call& call) {
  BlockParameters<const float, const W> typed;
  std::memcpy(&typed, &call.weights, sizeof typed);
  return typed;
}

// Activations of a call, in memory of their own.
template <class W>
std::vector<Tensor> make_activations(const BlockSizes& s, const Tensor& x) {
  const DataType type = std::is_same_v<W, float> ? DataType::FLOAT32 : DataType::BFLOAT16;
  const auto operands = [&](int64_t count) { return paddle::empty({count}, type, x.place()); };
  return {operands(mae::cpu::block_kept_qkv<W>(s)), operands(s.asked() * s.dim),
          floats({s.samples, s.length - s.first, s.dim}, x), operands(s.asked() * s.hidden),
          floats({mae::cpu::block_statistics(s)}, x)};
}

template <class W>
BlockActivations<W> pointers(const std::vector<Tensor>& kept) {
  const auto data = [&](size_t i) { return const_cast<void*>(kept[i].data()); };
  return {(W*)data(0), (W*)data(1), (float*)data(2), (W*)data(3), (float*)data(4)};
}

template <class W>
std::vector<Tensor> run_with(const Call& call, const Tensor& x, bool keeps) {
  const BlockSizes& s = call.sizes;
  std::vector<Tensor> results = make_activations<W>(s, x);
  const BlockActivations<W> activations = pointers<W>(results);
  Tensor out = floats({s.samples, s.length - s.first, s.dim}, x);
  Tensor scratch = floats({mae::cpu::block_scratch<W>(s, keeps)}, x);
  mae::cpu::block(s, weights_of<W>(call), call.scales, x.data<float>(), activations, keeps, scratch.data<float>(),
                  out.data<float>());
  if (!keeps) return {out};
  results.insert(results.begin(), out);
  return results;
}

std::vector<Tensor> run(const Call& call, const Tensor& x, bool keeps) {
  return call.rounds ? run_with<mae::Bfloat16>(call, x, keeps) : run_with<float>(call, x, keeps);
}

std::vector<Tensor> Block(const Tensor& x, const std::vector<Tensor>& tensors, int64_t heads, int64_t first,
                          float epsilon, bool has_qkv_bias, bool has_scales) {
  return run(Call(x, tensors, heads, first, epsilon, has_qkv_bias, has_scales), x, false);
}

std::vector<Tensor> BlockKept(const Tensor& x, const std::vector<Tensor>& tensors, int64_t heads, int64_t first,
                              float epsilon, bool has_qkv_bias, bool has_scales) {
  return run(Call(x, tensors, heads, first, epsilon, has_qkv_bias, has_scales), x, true);
}

// `wanted` has bit i set where parameter i of BlockParameters needs its gradient; the others' are one number, unset.
std::vector<Tensor> BlockBackward(const Tensor& x, const Tensor& qkv, const Tensor& attended, const Tensor& middle,
                                  const Tensor& hidden, const Tensor& statistics, const Tensor& grad_out,
                                  const std::vector<Tensor>& tensors, int64_t heads, int64_t first, float epsilon,
                                  bool has_qkv_bias, bool has_scales, int64_t wanted) {
  const Call call(x, tensors, heads, first, epsilon, has_qkv_bias, has_scales);
  const BlockSizes& s = call.sizes;
  MAE_REQUIRE(grad_out.shape() == middle.shape(), "the gradient has another shape than the result");
  std::vector<Tensor> grads{floats(x.shape(), x)};
  float* data[kParameters];
  for (size_t i = 0; i < kParameters; ++i) {
    const bool is_wanted = call.tensors[i].defined() && (wanted >> i & 1);
    grads.push_back(floats(is_wanted ? call.tensors[i].shape() : std::vector<int64_t>{1}, x));
    data[i] = is_wanted ? grads.back().data<float>() : nullptr;
  }
  BlockParameters<float> parameters;
  std::memcpy(&parameters, data, sizeof parameters);
  const auto run_backward = [&](auto zero) {
    using W = decltype(zero);
    Tensor scratch = floats({mae::cpu::block_backward_scratch<W>(s)}, x);
    mae::cpu::block_backward(s, weights_of<W>(call), call.scales, x.data<float>(),
                             pointers<W>({qkv, attended, middle, hidden, statistics}), grad_out.data<float>(),
                             scratch.data<float>(), grads[0].data<float>(), parameters);
  };
  if (call.rounds) run_backward(mae::Bfloat16{});
  else run_backward(0.0f);
  return grads;
}

}  // namespace

#define MAE_BLOCK_ATTRS "heads: int64_t", "first: int64_t", "epsilon: float", "has_qkv_bias: bool", "has_scales: bool"

PD_BUILD_OP(mae_block)
    .Inputs({"x", paddle::Vec("tensors")})
    .Outputs({"out"})
    .Attrs({MAE_BLOCK_ATTRS})
    .SetKernelFn(PD_KERNEL(Block));

PD_BUILD_OP(mae_block_kept)
    .Inputs({"x", paddle::Vec("tensors")})
    .Outputs({"out", "qkv", "attended", "middle", "hidden", "statistics"})
    .Attrs({MAE_BLOCK_ATTRS})
    .SetKernelFn(PD_KERNEL(BlockKept));

PD_BUILD_OP(mae_block_backward)
    .Inputs({"x", "qkv", "attended", "middle", "hidden", "statistics", "grad_out", paddle::Vec("tensors")})
    .Outputs({"grad_x", "grad_norm1_weight", "grad_norm1_bias", "grad_qkv_weight", "grad_qkv_bias",
              "grad_proj_weight", "grad_proj_bias", "grad_norm2_weight", "grad_norm2_bias", "grad_fc1_weight",
              "grad_fc1_bias", "grad_fc2_weight", "grad_fc2_bias"})
    .Attrs({MAE_BLOCK_ATTRS, "wanted: int64_t"})
    .SetKernelFn(PD_KERNEL(BlockBackward));
