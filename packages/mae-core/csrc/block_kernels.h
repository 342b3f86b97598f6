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

// What writes operands of a product, of float32 or rounded to bfloat16.
template <class Out>
struct OperandKernels {
  // mean and inverse deviation [rows], and out = (x - mean) * inverse * weight + bias
  void (*layer_norm)(const Rows&, const float* x, const float* weight, const float* bias, float epsilon, float* mean,
                     float* inverse, Out* out);
  // The same out from mean and inverse deviation.
  void (*normalize)(const Rows&, const float* x, const float* weight, const float* bias, const float* mean,
                    const float* inverse, Out* out);
  // out = scale * gelu(x + bias); in place where out is x. For bfloat16 the sum is rounded first, and goes to `kept`
  // unless that is null.
  void (*gelu)(const Rows&, const float* x, const float* bias, Out* kept, Out* out);
  // out as above, and grad_x = grad * scale * gelu'(x + bias), of which grad_bias is the sum; in place where grad_x is
  // grad. For bfloat16 x is what was kept, with its bias.
  void (*gelu_backward)(const Rows&, const Out* x, const float* bias, const float* grad, Out* out, Out* grad_x,
                        float* grad_bias);
};

struct BlockKernels {
  OperandKernels<float> plain;
  OperandKernels<Bfloat16> rounded;

  // attended [N, L - first, h, d], and the logarithm of each row's sum of exponentials [N, h, L - first]
  void (*attention)(const Attention&, int64_t head, float* scratch, float* attended, float* log_sum);
  // The gradient of qkv (with its bias); a query that was not asked for gets 0.
  void (*attention_backward)(const Attention&, int64_t head, float* scratch, const float* attended,
                             const float* log_sum, const float* grad, float* grad_qkv);
  // Floats of working memory a head needs.
  int64_t (*attention_scratch)(const Attention&);

  // The same with bfloat16. `kept`, unless it is null, gets q, k and v with their bias [N, h, 3, L, kept_dim(d)]; from
  // them alone the backward pass computes, which gives each sample's gradient of the bias [3, h, d], too.
  void (*rounded_attention)(const Attention&, int64_t head, float* scratch, Bfloat16* kept, Bfloat16* attended,
                            float* log_sum);
  void (*rounded_attention_backward)(const Attention&, int64_t head, float* scratch, const Bfloat16* kept,
                                     const Bfloat16* attended, const float* log_sum, const float* grad,
                                     Bfloat16* grad_qkv, float* grad_bias);
  int64_t (*rounded_attention_scratch)(const Attention&);

  // grad_x = residual (or 0 where null) + gradient through the norm.
  void (*layer_norm_backward)(const Rows&, const float* grad, const float* x, const float* weight, const float* mean,
                              const float* inverse, const float* residual, float* grad_x, float* grad_weight,
                              float* grad_bias);
  // out = x + scale * bias; in place where out is x
  void (*add_bias)(const Rows&, const float* x, const float* bias, float* out);
  // total += scale * x, and rounded = x; either may be null
  void (*sum_rows)(const Rows&, const float* x, float* total, Bfloat16* rounded);
};

// The width of a head's kept rows: whole lanes.
inline int64_t kept_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

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
