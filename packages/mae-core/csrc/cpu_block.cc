#include "cpu_block.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "block_kernels.h"
#include "gemm.h"
#include "parallel.h"

namespace mae {
namespace cpu {
namespace {

constexpr int64_t kShares = 32;  // of the rows; as many on any number of threads, so that sums do not depend on it
constexpr Side kPlain = Side::kPlain, kTransposed = Side::kTransposed;

// Call work(rows, share) for shares of the rows in parallel.
template <class Work>
void each_share(int64_t count, int64_t dim, int64_t length, const float* scale, Work work) {
  parallel_for(kShares, [&](int64_t share) {
    const Rows rows{count * share / kShares, count * (share + 1) / kShares, dim, length, scale};
    if (rows.begin < rows.end) work(rows, share);
  });
}

// Sums over rows: every share has its own, added in their order at the end.
class Sums {
 public:
  Sums(float* memory, int64_t width) : memory_(memory), width_(width) {
    std::memset(memory, 0, sizeof(float) * kShares * width);
  }
  float* of(int64_t share) const { return memory_ + share * width_; }

  void write(int64_t from, int64_t count, float* to) const {
    if (!to) return;
    std::copy_n(memory_ + from, count, to);
    for (int64_t share = 1; share < kShares; ++share) {
      for (int64_t i = 0; i < count; ++i) to[i] += memory_[share * width_ + from + i];
    }
  }

 private:
  float* memory_;
  int64_t width_;
};

Attention attention_of(const BlockSizes& s, const BlockParameters<const float>& w, const BlockScales& scales,
                       const float* qkv) {
  return {qkv, w.qkv_bias, scales.attention, s.samples, s.length, s.first, s.heads, s.dim / s.heads};
}

// Call work(head, scratch) for every head of every sample in parallel.
template <class Work>
void each_head(const Attention& a, Work work) {
  const int64_t floats = block_kernels().attention_scratch(a);
  parallel_for(a.samples * a.heads, [&](int64_t head) {
    thread_local std::unique_ptr<float[]> memory;
    thread_local int64_t size = 0;
    if (size < floats) memory.reset(new float[floats]), size = floats;
    work(head, memory.get());
  });
}

// Copy the rows that the block computes out of [N, L, D].
void take_asked(const BlockSizes& s, const float* x, float* to) {
  const int64_t count = (s.length - s.first) * s.dim;
  parallel_for(s.samples, [&](int64_t n) { std::copy_n(x + (n * s.length + s.first) * s.dim, count, to + n * count); });
}

// out = x + scale * (input weight + bias), the bias of a product [rows, columns].
void add_product(const BlockSizes& s, const float* input, int64_t depth, const float* weight, const float* bias,
                 const float* scale, const float* x, float* out) {
  each_share(s.asked(), s.dim, s.length - s.first, scale,
             [&](const Rows& rows, int64_t) { block_kernels().add_bias(rows, x, bias, out); });
  gemm(kPlain, kPlain, s.asked(), s.dim, depth, input, depth, weight, s.dim, 1.0f, out, s.dim);
}

}  // namespace

void norm(const NormSizes& s, const float* x, const float* weight, const float* bias, float* mean, float* inverse,
          float* out) {
  each_share(s.rows, s.dim, 1, nullptr, [&](const Rows& rows, int64_t) {
    block_kernels().layer_norm(rows, x, weight, bias, s.epsilon, mean, inverse, out);
  });
}

int64_t norm_backward_scratch(const NormSizes& s) { return kShares * 2 * s.dim; }

void norm_backward(const NormSizes& s, const float* grad, const float* x, const float* weight, const float* mean,
                   const float* inverse, const float* residual, float* scratch, float* grad_x, float* grad_weight,
                   float* grad_bias) {
  const Sums sums(scratch, 2 * s.dim);
  each_share(s.rows, s.dim, 1, nullptr, [&](const Rows& rows, int64_t share) {
    block_kernels().layer_norm_backward(rows, grad, x, weight, mean, inverse, residual, grad_x, sums.of(share),
                                        sums.of(share) + s.dim);
  });
  sums.write(0, s.dim, grad_weight);
  sums.write(s.dim, s.dim, grad_bias);
}

int64_t block_scratch(const BlockSizes& s, bool keeps) {
  return s.rows() * s.dim + (keeps ? s.asked() * s.hidden : 0);
}

void block(const BlockSizes& s, const BlockParameters<const float>& w, const BlockScales& scales, const float* x,
           const BlockActivations& a, bool keeps, float* scratch, float* out) {
  const BlockKernels& k = block_kernels();
  const int64_t length = s.length - s.first;
  float *normed = scratch, *activated = keeps ? scratch + s.rows() * s.dim : a.hidden;

  norm({s.rows(), s.dim, s.epsilon}, x, w.norm1_weight, w.norm1_bias, a.mean1(s), a.inverse1(s), normed);
  gemm(kPlain, kPlain, s.rows(), 3 * s.dim, s.dim, normed, s.dim, w.qkv_weight, 3 * s.dim, 0.0f, a.qkv, 3 * s.dim);
  const Attention attention = attention_of(s, w, scales, a.qkv);
  each_head(attention, [&](int64_t head, float* memory) {
    k.attention(attention, head, memory, a.attended, a.log_sum(s));
  });
  if (s.first) take_asked(s, x, normed), x = normed;
  add_product(s, a.attended, s.dim, w.proj_weight, w.proj_bias, scales.attention, x, a.middle);

  norm({s.asked(), s.dim, s.epsilon}, a.middle, w.norm2_weight, w.norm2_bias, a.mean2(s), a.inverse2(s), normed);
  gemm(kPlain, kPlain, s.asked(), s.hidden, s.dim, normed, s.dim, w.fc1_weight, s.hidden, 0.0f, a.hidden, s.hidden);
  each_share(s.asked(), s.hidden, length, scales.mlp,
             [&](const Rows& rows, int64_t) { k.gelu(rows, a.hidden, w.fc1_bias, activated); });
  add_product(s, activated, s.hidden, w.fc2_weight, w.fc2_bias, scales.mlp, a.middle, out);
}

namespace {

// Memory of the backward pass: two matrices as wide as the MLP (or qkv), two as wide as the tokens, and sums.
struct BackwardScratch {
  float *wide, *grad_wide, *narrow, *grad_middle, *sums;
};

int64_t wide_floats(const BlockSizes& s) { return std::max(s.asked() * s.hidden, s.rows() * 3 * s.dim); }
int64_t widest_sum(const BlockSizes& s) { return std::max(s.hidden, 3 * s.dim); }

BackwardScratch cut(const BlockSizes& s, float* memory) {
  BackwardScratch c;
  c.wide = memory, c.grad_wide = c.wide + s.asked() * s.hidden, c.narrow = c.grad_wide + wide_floats(s);
  c.grad_middle = c.narrow + s.rows() * s.dim, c.sums = c.grad_middle + s.asked() * s.dim;
  return c;
}

// grad [depth, width] = input^T [depth, rows] grad_out [rows, width], where it is asked for
void weight_gradient(int64_t rows, int64_t depth, int64_t width, const float* input, const float* grad_out,
                     float* grad) {
  if (grad) gemm(kTransposed, kPlain, depth, width, rows, input, depth, grad_out, width, 0.0f, grad, width);
}

// grad_input [rows, depth] = grad_out [rows, width] weight^T
void input_gradient(int64_t rows, int64_t depth, int64_t width, const float* grad_out, const float* weight,
                    float* grad_input) {
  gemm(kPlain, kTransposed, rows, depth, width, grad_out, width, weight, width, 0.0f, grad_input, depth);
}

// bias's gradient: the sum of scale * grad over rows
void bias_gradient(const BlockSizes& s, const float* grad, const float* scale, const BackwardScratch& c, float* to) {
  if (!to) return;
  const Sums sums(c.sums, s.dim);
  each_share(s.asked(), s.dim, s.length - s.first, scale,
             [&](const Rows& rows, int64_t share) { block_kernels().sum_rows(rows, grad, sums.of(share)); });
  sums.write(0, s.dim, to);
}

// From the gradient of the block's result to that of `middle`.
void mlp_backward(const BlockSizes& s, const BlockParameters<const float>& w, const BlockScales& scales,
                  const BlockActivations& a, const float* grad_out, const BackwardScratch& c,
                  const BlockParameters<float>& grads) {
  const BlockKernels& k = block_kernels();
  const int64_t rows = s.asked(), length = s.length - s.first;
  bias_gradient(s, grad_out, scales.mlp, c, grads.fc2_bias);
  input_gradient(rows, s.hidden, s.dim, grad_out, w.fc2_weight, c.grad_wide);
  const Sums sums(c.sums, s.hidden);
  each_share(rows, s.hidden, length, scales.mlp, [&](const Rows& part, int64_t share) {
    k.gelu_backward(part, a.hidden, w.fc1_bias, c.wide, c.grad_wide, sums.of(share));
  });
  sums.write(0, s.hidden, grads.fc1_bias);
  weight_gradient(rows, s.hidden, s.dim, c.wide, grad_out, grads.fc2_weight);
  if (grads.fc1_weight) {
    each_share(rows, s.dim, length, nullptr, [&](const Rows& part, int64_t) {
      k.normalize(part, a.middle, w.norm2_weight, w.norm2_bias, a.mean2(s), a.inverse2(s), c.narrow);
    });
    weight_gradient(rows, s.dim, s.hidden, c.narrow, c.grad_wide, grads.fc1_weight);
  }
  input_gradient(rows, s.dim, s.hidden, c.grad_wide, w.fc1_weight, c.narrow);
  norm_backward({rows, s.dim, s.epsilon}, c.narrow, a.middle, w.norm2_weight, a.mean2(s), a.inverse2(s), grad_out,
                c.sums, c.grad_middle, grads.norm2_weight, grads.norm2_bias);
}

// From the gradient of `middle` to that of qkv, in c.grad_wide.
void attention_branch_backward(const BlockSizes& s, const BlockParameters<const float>& w, const BlockScales& scales,
                               const BlockActivations& a, const BackwardScratch& c,
                               const BlockParameters<float>& grads) {
  bias_gradient(s, c.grad_middle, scales.attention, c, grads.proj_bias);
  weight_gradient(s.asked(), s.dim, s.dim, a.attended, c.grad_middle, grads.proj_weight);
  input_gradient(s.asked(), s.dim, s.dim, c.grad_middle, w.proj_weight, c.narrow);
  const Attention attention = attention_of(s, w, scales, a.qkv);
  each_head(attention, [&](int64_t head, float* memory) {
    block_kernels().attention_backward(attention, head, memory, a.attended, a.log_sum(s), c.narrow, c.grad_wide);
  });
  if (!grads.qkv_bias) return;
  const Sums sums(c.sums, 3 * s.dim);
  each_share(s.rows(), 3 * s.dim, s.length, nullptr,
             [&](const Rows& part, int64_t share) { block_kernels().sum_rows(part, c.grad_wide, sums.of(share)); });
  sums.write(0, 3 * s.dim, grads.qkv_bias);
}

// The residual's gradient in the rows [N, L, D] of x, 0 in those that were not asked for.
const float* spread_asked(const BlockSizes& s, const float* grad_middle, float* to) {
  if (!s.first) return grad_middle;
  const int64_t skipped = s.first * s.dim, count = (s.length - s.first) * s.dim;
  parallel_for(s.samples, [&](int64_t n) {
    std::fill_n(to + n * s.length * s.dim, skipped, 0.0f);
    std::copy_n(grad_middle + n * count, count, to + n * s.length * s.dim + skipped);
  });
  return to;
}

}  // namespace

int64_t block_backward_scratch(const BlockSizes& s) {
  return s.asked() * (s.hidden + s.dim) + wide_floats(s) + s.rows() * s.dim + kShares * widest_sum(s);
}

void block_backward(const BlockSizes& s, const BlockParameters<const float>& w, const BlockScales& scales,
                    const float* x, const BlockActivations& a, const float* grad_out, float* scratch, float* grad_x,
                    const BlockParameters<float>& grads) {
  const BackwardScratch c = cut(s, scratch);
  mlp_backward(s, w, scales, a, grad_out, c, grads);
  attention_branch_backward(s, w, scales, a, c, grads);
  if (grads.qkv_weight) {
    each_share(s.rows(), s.dim, s.length, nullptr, [&](const Rows& rows, int64_t) {
      block_kernels().normalize(rows, x, w.norm1_weight, w.norm1_bias, a.mean1(s), a.inverse1(s), c.narrow);
    });
    weight_gradient(s.rows(), s.dim, 3 * s.dim, c.narrow, c.grad_wide, grads.qkv_weight);
  }
  input_gradient(s.rows(), s.dim, 3 * s.dim, c.grad_wide, w.qkv_weight, c.narrow);
  const float* residual = spread_asked(s, c.grad_middle, grad_x);  // in place: each element is read, then written
  norm_backward({s.rows(), s.dim, s.epsilon}, c.narrow, x, w.norm1_weight, a.mean1(s), a.inverse1(s), residual, c.sums,
                grad_x, grads.norm1_weight, grads.norm1_bias);
}

}  // namespace cpu
}  // namespace mae
