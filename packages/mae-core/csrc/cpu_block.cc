#include "cpu_block.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>

#include "block_kernels.h"
#include "gemm.h"
#include "parallel.h"

namespace mae {
namespace cpu {
namespace {

constexpr int64_t kShares = 32;  // of the rows; as many on any number of threads, so that sums do not depend on it
constexpr Side kPlain = Side::kPlain, kTransposed = Side::kTransposed;

// The kernels that write operands of type W.
template <class W>
const OperandKernels<W>& writers() {
  if constexpr (std::is_same_v<W, float>) return block_kernels().plain;
  else return block_kernels().rounded;
}

// Memory that is handed out part by part; without any, it only counts.
class Memory {
 public:
  explicit Memory(float* start) : start_(start) {}
  template <class T>
  T* take(int64_t count) {
    float* part = start_ ? start_ + floats_ : nullptr;
    floats_ += (count * sizeof(T) + sizeof(float) - 1) / sizeof(float);
    return reinterpret_cast<T*>(part);
  }
  int64_t floats() const { return floats_; }

 private:
  float* start_;
  int64_t floats_ = 0;
};

// Call work(rows, share) for shares of the rows in parallel.
template <class Work>
void each_share(int64_t count, int64_t dim, int64_t length, const float* scale, Work work) {
  parallel_for(kShares, [&](int64_t share) {
    const Rows rows{count * share / kShares, count * (share + 1) / kShares, dim, length, scale};
    if (rows.begin < rows.end) work(rows, share);
  });
}

// to[columns] = the sum over rows of x, in their order; none where it is null
void add_rows(const float* x, int64_t rows, int64_t width, int64_t columns, float* to) {
  if (!to) return;
  std::copy_n(x, columns, to);
  for (int64_t row = 1; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) to[i] += x[row * width + i];
  }
}

// Sums over rows: every share has its own, added in their order at the end.
class Sums {
 public:
  Sums(float* memory, int64_t width) : memory_(memory), width_(width) {
    std::memset(memory, 0, sizeof(float) * kShares * width);
  }
  float* of(int64_t share) const { return memory_ + share * width_; }

  void write(int64_t from, int64_t count, float* to) const { add_rows(memory_ + from, kShares, width_, count, to); }

 private:
  float* memory_;
  int64_t width_;
};

// A matrix as an operand: itself, or rounded into `to`. Its rows' sum, times their scale, goes to `sum` where that is
// asked for.
template <class W>
const W* as_operand(const Rows& all, const float* x, W* to, float* memory, float* sum) {
  constexpr bool kRounds = !std::is_same_v<W, float>;
  if (kRounds || sum) {
    const Sums sums(memory, all.dim);
    each_share(all.end, all.dim, all.length, all.scale, [&](const Rows& rows, int64_t share) {
      block_kernels().sum_rows(rows, x, sum ? sums.of(share) : nullptr, kRounds ? (Bfloat16*)to : nullptr);
    });
    sums.write(0, all.dim, sum);
  }
  if constexpr (kRounds) return to;
  else return x;
}

Attention attention_of(const BlockSizes& s, const float* qkv_bias, const BlockScales& scales, const float* qkv) {
  return {qkv, qkv_bias, scales.attention, s.samples, s.length, s.first, s.heads, s.dim / s.heads};
}

// Call work(head, scratch) for every head of every sample in parallel.
template <class W, class Work>
void each_head(const Attention& a, Work work) {
  constexpr bool kRounds = !std::is_same_v<W, float>;
  const BlockKernels& k = block_kernels();
  const int64_t floats = kRounds ? k.rounded_attention_scratch(a) : k.attention_scratch(a);
  parallel_for(a.samples * a.heads, [&](int64_t head) {
    thread_local std::unique_ptr<float[]> memory;
    thread_local int64_t size = 0;
    if (size < floats) memory.reset(new float[floats]), size = floats;
    work(head, memory.get());
  });
}

template <class W>
void norm_to(const NormSizes& s, const float* x, const float* weight, const float* bias, float* mean, float* inverse,
             W* out) {
  each_share(s.rows, s.dim, 1, nullptr, [&](const Rows& rows, int64_t) {
    writers<W>().layer_norm(rows, x, weight, bias, s.epsilon, mean, inverse, out);
  });
}

// Copy the rows that the block computes out of [N, L, D].
void take_asked(const BlockSizes& s, const float* x, float* to) {
  const int64_t count = (s.length - s.first) * s.dim;
  parallel_for(s.samples, [&](int64_t n) { std::copy_n(x + (n * s.length + s.first) * s.dim, count, to + n * count); });
}

// out = x + scale * (input weight + bias), the bias of a product [rows, columns].
template <class W>
void add_product(const BlockSizes& s, const W* input, int64_t depth, const W* weight, const float* bias,
                 const float* scale, const float* x, float* out) {
  each_share(s.asked(), s.dim, s.length - s.first, scale,
             [&](const Rows& rows, int64_t) { block_kernels().add_bias(rows, x, bias, out); });
  gemm(kPlain, kPlain, s.asked(), s.dim, depth, input, depth, weight, s.dim, 1.0f, out, s.dim);
}

}  // namespace

void norm(const NormSizes& s, const float* x, const float* weight, const float* bias, float* mean, float* inverse,
          float* out) {
  norm_to(s, x, weight, bias, mean, inverse, out);
}

void round(int64_t count, const float* x, Bfloat16* to) {
  constexpr int64_t kPiece = 4096;
  parallel_for((count + kPiece - 1) / kPiece, [&](int64_t piece) {
    const int64_t begin = piece * kPiece, size = std::min(kPiece, count - begin);
    block_kernels().sum_rows({0, 1, size, 1, nullptr}, x + begin, nullptr, to + begin);
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

namespace {

int64_t widest(const BlockSizes& s) { return std::max(s.asked() * s.hidden, s.rows() * 3 * s.dim); }

// Memory of the forward pass: normalised tokens, what GELU writes, and products, which are kept as they are or rounded.
template <class W>
struct ForwardScratch {
  W *normed, *activated;
  float *qkv, *hidden;

  ForwardScratch(const BlockSizes& s, const BlockActivations<W>& a, bool keeps, Memory& memory) {
    normed = memory.take<W>(s.rows() * s.dim);
    if constexpr (std::is_same_v<W, float>) {
      qkv = a.qkv, hidden = a.hidden;
      activated = keeps ? memory.take<W>(s.asked() * s.hidden) : a.hidden;  // GELU may write where it reads
    } else {
      qkv = hidden = memory.take<float>(widest(s));
      activated = memory.take<W>(s.asked() * s.hidden);
    }
  }
};

}  // namespace

template <class W>
int64_t block_kept_qkv(const BlockSizes& s) {
  return s.rows() * 3 * (std::is_same_v<W, float> ? s.dim : s.heads * kept_dim(s.dim / s.heads));
}

template <class W>
int64_t block_scratch(const BlockSizes& s, bool keeps) {
  Memory memory(nullptr);
  ForwardScratch<W>(s, BlockActivations<W>{}, keeps, memory);
  return memory.floats();
}

template <class W>
void block(const BlockSizes& s, const BlockParameters<const float, const W>& w, const BlockScales& scales,
           const float* x, const BlockActivations<W>& a, bool keeps, float* scratch, float* out) {
  const int64_t length = s.length - s.first;
  Memory memory(scratch);
  const ForwardScratch<W> c(s, a, keeps, memory);

  norm_to({s.rows(), s.dim, s.epsilon}, x, w.norm1_weight, w.norm1_bias, a.mean1(s), a.inverse1(s), c.normed);
  gemm(kPlain, kPlain, s.rows(), 3 * s.dim, s.dim, c.normed, s.dim, w.qkv_weight, 3 * s.dim, 0.0f, c.qkv, 3 * s.dim);
  const Attention attention = attention_of(s, w.qkv_bias, scales, c.qkv);
  each_head<W>(attention, [&](int64_t head, float* part) {
    if constexpr (std::is_same_v<W, float>) {
      block_kernels().attention(attention, head, part, a.attended, a.log_sum(s));
    } else {
      block_kernels().rounded_attention(attention, head, part, keeps ? a.qkv : nullptr, a.attended, a.log_sum(s));
    }
  });
  if (s.first) take_asked(s, x, a.middle), x = a.middle;
  add_product(s, (const W*)a.attended, s.dim, w.proj_weight, w.proj_bias, scales.attention, x, a.middle);

  norm_to({s.asked(), s.dim, s.epsilon}, a.middle, w.norm2_weight, w.norm2_bias, a.mean2(s), a.inverse2(s), c.normed);
  gemm(kPlain, kPlain, s.asked(), s.hidden, s.dim, c.normed, s.dim, w.fc1_weight, s.hidden, 0.0f, c.hidden, s.hidden);
  each_share(s.asked(), s.hidden, length, scales.mlp, [&](const Rows& rows, int64_t) {
    writers<W>().gelu(rows, c.hidden, w.fc1_bias, keeps ? a.hidden : nullptr, c.activated);
  });
  add_product(s, (const W*)c.activated, s.hidden, w.fc2_weight, w.fc2_bias, scales.mlp, a.middle, out);
}

namespace {

// Memory of the backward pass: matrices as wide as the MLP (or qkv), others as wide as the tokens, and sums.
// Operands have their own where they are rounded.
template <class W>
struct BackwardScratch {
  W *wide, *wide_operand, *narrow_operand;
  float *grad_wide, *narrow, *grad_middle, *sums;

  BackwardScratch(const BlockSizes& s, Memory& memory) {
    constexpr bool kRounds = !std::is_same_v<W, float>;
    wide = memory.take<W>(s.asked() * s.hidden);
    grad_wide = memory.take<float>(kRounds ? s.asked() * s.hidden : widest(s));
    narrow = memory.take<float>(s.rows() * s.dim);
    grad_middle = memory.take<float>(s.asked() * s.dim);
    sums = memory.take<float>(std::max(kShares * std::max(s.hidden, 3 * s.dim), kRounds ? s.samples * 3 * s.dim : 0));
    wide_operand = kRounds ? memory.take<W>(widest(s)) : (W*)grad_wide;
    narrow_operand = kRounds ? memory.take<W>(s.rows() * s.dim) : (W*)narrow;
  }
};

// grad [depth, width] = input^T [depth, rows] grad_out [rows, width], where it is asked for
template <class W>
void weight_gradient(int64_t rows, int64_t depth, int64_t width, const W* input, const W* grad_out,
                     float* grad) {
  if (grad) gemm(kTransposed, kPlain, depth, width, rows, input, depth, grad_out, width, 0.0f, grad, width);
}

// grad_input [rows, depth] = grad_out [rows, width] weight^T
template <class W>
void input_gradient(int64_t rows, int64_t depth, int64_t width, const W* grad_out, const W* weight,
                    float* grad_input) {
  gemm(kPlain, kTransposed, rows, depth, width, grad_out, width, weight, width, 0.0f, grad_input, depth);
}

// From the gradient of the block's result to that of `middle`.
template <class W>
void mlp_backward(const BlockSizes& s, const BlockParameters<const float, const W>& w, const BlockScales& scales,
                  const BlockActivations<W>& a, const float* grad_out, const BackwardScratch<W>& c,
                  const BlockParameters<float>& grads) {
  const int64_t rows = s.asked(), length = s.length - s.first;
  const W* grad = as_operand({0, rows, s.dim, length, scales.mlp}, grad_out, c.narrow_operand, c.sums, grads.fc2_bias);
  input_gradient(rows, s.hidden, s.dim, grad, w.fc2_weight, c.grad_wide);
  const Sums sums(c.sums, s.hidden);
  each_share(rows, s.hidden, length, scales.mlp, [&](const Rows& part, int64_t share) {
    writers<W>().gelu_backward(part, a.hidden, w.fc1_bias, c.grad_wide, c.wide, c.wide_operand, sums.of(share));
  });
  sums.write(0, s.hidden, grads.fc1_bias);
  weight_gradient(rows, s.hidden, s.dim, c.wide, grad, grads.fc2_weight);
  if (grads.fc1_weight) {
    each_share(rows, s.dim, length, nullptr, [&](const Rows& part, int64_t) {
      writers<W>().normalize(part, a.middle, w.norm2_weight, w.norm2_bias, a.mean2(s), a.inverse2(s), c.narrow_operand);
    });
    weight_gradient(rows, s.dim, s.hidden, c.narrow_operand, c.wide_operand, grads.fc1_weight);
  }
  input_gradient(rows, s.dim, s.hidden, c.wide_operand, w.fc1_weight, c.narrow);
  norm_backward({rows, s.dim, s.epsilon}, c.narrow, a.middle, w.norm2_weight, a.mean2(s), a.inverse2(s), grad_out,
                c.sums, c.grad_middle, grads.norm2_weight, grads.norm2_bias);
}

// From the gradient of `middle` to that of qkv, which is returned.
template <class W>
const W* attention_branch_backward(const BlockSizes& s, const BlockParameters<const float, const W>& w,
                                   const BlockScales& scales, const BlockActivations<W>& a,
                                   const BackwardScratch<W>& c, const BlockParameters<float>& grads) {
  const Rows asked{0, s.asked(), s.dim, s.length - s.first, scales.attention};
  const W* grad = as_operand(asked, c.grad_middle, c.narrow_operand, c.sums, grads.proj_bias);
  weight_gradient(s.asked(), s.dim, s.dim, (const W*)a.attended, grad, grads.proj_weight);
  input_gradient(s.asked(), s.dim, s.dim, grad, w.proj_weight, c.narrow);
  if constexpr (std::is_same_v<W, float>) {
    const Attention attention = attention_of(s, w.qkv_bias, scales, a.qkv);
    each_head<W>(attention, [&](int64_t head, float* memory) {
      block_kernels().attention_backward(attention, head, memory, a.attended, a.log_sum(s), c.narrow, c.grad_wide);
    });
    return as_operand({0, s.rows(), 3 * s.dim, s.length, nullptr}, c.grad_wide, c.wide_operand, c.sums, grads.qkv_bias);
  } else {
    const Attention attention = attention_of(s, nullptr, scales, nullptr);
    each_head<W>(attention, [&](int64_t head, float* memory) {
      block_kernels().rounded_attention_backward(attention, head, memory, a.qkv, a.attended, a.log_sum(s), c.narrow,
                                                 c.wide_operand, c.sums + head / s.heads * 3 * s.dim);
    });
    add_rows(c.sums, s.samples, 3 * s.dim, 3 * s.dim, grads.qkv_bias);
    return c.wide_operand;
  }
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

template <class W>
int64_t block_backward_scratch(const BlockSizes& s) {
  Memory memory(nullptr);
  BackwardScratch<W>(s, memory);
  return memory.floats();
}

template <class W>
void block_backward(const BlockSizes& s, const BlockParameters<const float, const W>& w, const BlockScales& scales,
                    const float* x, const BlockActivations<W>& a, const float* grad_out, float* scratch, float* grad_x,
                    const BlockParameters<float>& grads) {
  Memory memory(scratch);
  const BackwardScratch<W> c(s, memory);
  mlp_backward(s, w, scales, a, grad_out, c, grads);
  const W* grad_qkv = attention_branch_backward(s, w, scales, a, c, grads);
  if (grads.qkv_weight) {
    each_share(s.rows(), s.dim, s.length, nullptr, [&](const Rows& rows, int64_t) {
      writers<W>().normalize(rows, x, w.norm1_weight, w.norm1_bias, a.mean1(s), a.inverse1(s), c.narrow_operand);
    });
    weight_gradient(s.rows(), s.dim, 3 * s.dim, c.narrow_operand, grad_qkv, grads.qkv_weight);
  }
  input_gradient(s.rows(), s.dim, 3 * s.dim, grad_qkv, w.qkv_weight, c.narrow);
  const float* residual = spread_asked(s, c.grad_middle, grad_x);  // in place: each element is read, then written
  norm_backward({s.rows(), s.dim, s.epsilon}, c.narrow, x, w.norm1_weight, a.mean1(s), a.inverse1(s), residual, c.sums,
                grad_x, grads.norm1_weight, grads.norm1_bias);
}

#define MAE_BLOCK_OF(W)                                                                                           \
  template int64_t block_kept_qkv<W>(const BlockSizes&);                                                          \
  template int64_t block_scratch<W>(const BlockSizes&, bool);                                                     \
  template int64_t block_backward_scratch<W>(const BlockSizes&);                                                  \
  template void block(const BlockSizes&, const BlockParameters<const float, const W>&, const BlockScales&,        \
                      const float*, const BlockActivations<W>&, bool, float*, float*);                            \
  template void block_backward(const BlockSizes&, const BlockParameters<const float, const W>&,                   \
                               const BlockScales&, const float*, const BlockActivations<W>&, const float*, float*, \
                               float*, const BlockParameters<float>&);
MAE_BLOCK_OF(float)
MAE_BLOCK_OF(Bfloat16)

}  // namespace cpu
}  // namespace mae
