// A pre-norm transformer block, x + attention(norm(x)) and then x + mlp(norm(x)), forward and backward.
//
// W is the type of the matrix products' operands, float or Bfloat16, and of what is kept of their results; everything
// else is float32.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace mae {
namespace cpu {

// Tokens x [N, L, D]; the block computes those behind the first `first` ones, which attend to all.
struct BlockSizes {
  int64_t samples, length, first, dim, heads, hidden;
  float epsilon;

  int64_t rows() const { return samples * length; }
  int64_t asked() const { return samples * (length - first); }
};

// Linear weights are [in, out]. A gradient that is not asked for is null, and so is qkv_bias where there is none.
template <class T, class W = T>
struct BlockParameters {
  T *norm1_weight, *norm1_bias;
  W* qkv_weight;
  T* qkv_bias;
  W* proj_weight;
  T *proj_bias, *norm2_weight, *norm2_bias;
  W* fc1_weight;
  T* fc1_bias;
  W* fc2_weight;
  T* fc2_bias;
};

// Scale [N] of a sample's two branches (stochastic depth), or null.
struct BlockScales {
  const float *attention, *mlp;
};

// What the backward pass needs beside x: products, of float without their biases, of Bfloat16 with them; statistics.
template <class W>
struct BlockActivations {
  W* qkv;         // [N, L, 3 D], or of Bfloat16 what the attention's kernel keeps
  W* attended;    // [N, L - first, D], before the projection, times the scale
  float* middle;  // [N, L - first, D], between attention and MLP
  W* hidden;      // [N, L - first, H]
  float* statistics;

  float* mean1(const BlockSizes&) const { return statistics; }
  float* inverse1(const BlockSizes& s) const { return statistics + s.rows(); }
  float* mean2(const BlockSizes& s) const { return statistics + 2 * s.rows(); }
  float* inverse2(const BlockSizes& s) const { return mean2(s) + s.asked(); }
  float* log_sum(const BlockSizes& s) const { return mean2(s) + 2 * s.asked(); }  // [N, h, L - first]
};

inline int64_t block_statistics(const BlockSizes& s) { return 2 * s.rows() + (2 + s.heads) * s.asked(); }

template <class W>
int64_t block_kept_qkv(const BlockSizes& sizes);  // elements of BlockActivations::qkv

// Floats of working memory; with `keeps`, activations.hidden is left as it is needed, else it is overwritten.
template <class W>
int64_t block_scratch(const BlockSizes& sizes, bool keeps);
template <class W>
int64_t block_backward_scratch(const BlockSizes& sizes);

template <class W>
void block(const BlockSizes& sizes, const BlockParameters<const float, const W>& weights, const BlockScales& scales,
           const float* x, const BlockActivations<W>& activations, bool keeps, float* scratch, float* out);

template <class W>
void block_backward(const BlockSizes& sizes, const BlockParameters<const float, const W>& weights,
                    const BlockScales& scales, const float* x, const BlockActivations<W>& activations,
                    const float* grad_out, float* scratch, float* grad_x, const BlockParameters<float>& grads);

// to = x, rounded
void round(int64_t count, const float* x, Bfloat16* to);

// Layer norm of x [rows, dim] alone, and its gradients; those of weight and bias are left out where null.
struct NormSizes {
  int64_t rows, dim;
  float epsilon;
};

void norm(const NormSizes& sizes, const float* x, const float* weight, const float* bias, float* mean, float* inverse,
          float* out);

int64_t norm_backward_scratch(const NormSizes& sizes);  // in floats

// grad_x = residual (or 0 where null) + the gradient through the norm
void norm_backward(const NormSizes& sizes, const float* grad, const float* x, const float* weight, const float* mean,
                   const float* inverse, const float* residual, float* scratch, float* grad_x, float* grad_weight,
                   float* grad_bias);

}  // namespace cpu
}  // namespace mae
