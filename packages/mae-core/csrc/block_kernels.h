// What the transformer block does between its matrix products, compiled once an instruction set.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace mae {

// Heads of self-attention over the product qkv [N, L, 3, h, d], whose bias [3, h, d] (or null) is added here.
struct Attention {
  const float* qkv;
  const float* bias;
  const float* scale;  // [N], what the result of each sample is multiplied by, or null
  int64_t samples, length, first, heads, head_dim;
};

// Rows of a matrix, of which `length` in a row belong to one sample with its scale (or null).
struct Rows {
  int64_t begin, end, dim, length;
  const float* scale;
};

// Every function takes the rows or the head it is to do; sums over rows are added to what is there.

// What writes operands of a product or multiplies, with operands of float32 or rounded to bfloat16.
template <class Out>
struct OperandKernels {
  // mean and inverse deviation [rows], and out = (x - mean) * inverse * weight + bias
  void (*layer_norm)(const Rows&, const float* x, const float* weight, const float* bias, float epsilon, float* mean,
                     float* inverse, Out* out);
  // The same out from mean and inverse deviation.
  void (*normalize)(const Rows&, const float* x, const float* weight, const float* bias, const float* mean,
                    const float* inverse, Out* out);
  // out = scale * gelu(x + bias); in place where out is x
  void (*gelu)(const Rows&, const float* x, const float* bias, Out* out);
  // out as above, and grad_x = grad * scale * gelu'(x + bias), of which grad_bias is the sum; in place where grad_x is grad
  void (*gelu_backward)(const Rows&, const float* x, const float* bias, const float* grad, Out* out, Out* grad_x,
                        float* grad_bias);
  // attended [N, L - first, h, d], and the logarithm of each row's sum of exponentials [N, h, L - first]
  // `rounded` gets the result too, unless it is null.
  void (*attention)(const Attention&, int64_t head, float* scratch, float* attended, Bfloat16* rounded, float* log_sum);
  // The gradient of qkv (with its bias); a query that was not asked for gets 0.
  void (*attention_backward)(const Attention&, int64_t head, float* scratch, const float* attended,
                             const float* log_sum, const float* grad, float* grad_qkv);
};

struct BlockKernels {
  OperandKernels<float> plain;
  OperandKernels<Bfloat16> rounded;
  // grad_x = residual (or 0 where null) + gradient through the norm.
  void (*layer_norm_backward)(const Rows&, const float* grad, const float* x, const float* weight, const float* mean,
                              const float* inverse, const float* residual, float* grad_x, float* grad_weight,
                              float* grad_bias);
  // out = x + scale * bias; in place where out is x
  void (*add_bias)(const Rows&, const float* x, const float* bias, float* out);
  // total += scale * x, and rounded = x; either may be null
  void (*sum_rows)(const Rows&, const float* x, float* total, Bfloat16* rounded);

  // Floats of working memory a head needs.
  int64_t (*attention_scratch)(const Attention&);
};

// The kernels of the widest instruction set that this processor has.
const BlockKernels& block_kernels();

extern const BlockKernels kBaseKernels;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MAE_HAS_X86_LEVELS 1
extern const BlockKernels kAvx2Kernels, kAvx512Kernels;
#if __GNUC__ >= 10
#define MAE_HAS_AVX512_BF16 1
extern const BlockKernels kAvx512Bf16Kernels;
#endif
#endif

}  // namespace mae
