// Layer norm, GELU and sums, row by row.
namespace mae {
namespace {

MAE_INLINE float scale_of(const Rows& rows, int64_t row) { return rows.scale ? rows.scale[row / rows.length] : 1.0f; }

template <class Out>
MAE_INLINE void normalize_row(const float* x, const float* weight, const float* bias, float mean, float inverse,
                              int64_t dim, Out* out) {
  each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes a, w, b;
    load(x + i, n, a), load(weight + i, n, w), load(bias + i, n, b);
    store(out + i, n, (a - mean) * inverse * w + b);
  });
}

template <class Out>
void layer_norm(const Rows& rows, const float* x, const float* weight, const float* bias, float epsilon, float* mean,
                float* inverse, Out* out) {
  const int64_t dim = rows.dim;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* from = x + row * dim;
    Lanes total{}, squares{};
    each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a;
      load(from + i, n, a);
      total += a;
    });
    const float center = sum(total) / dim;
    each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a;
      load(from + i, n, a, center);  // what lies behind the row's end adds 0
      squares += (a - center) * (a - center);
    });
    mean[row] = center;
    inverse[row] = 1.0f / std::sqrt(sum(squares) / dim + epsilon);
    normalize_row(from, weight, bias, center, inverse[row], dim, out + row * dim);
  }
}

template <class Out>
void normalize(const Rows& rows, const float* x, const float* weight, const float* bias, const float* mean,
               const float* inverse, Out* out) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t at = row * rows.dim;
    normalize_row(x + at, weight, bias, mean[row], inverse[row], rows.dim, out + at);
  }
}

void layer_norm_backward(const Rows& rows, const float* grad, const float* x, const float* weight, const float* mean,
                         const float* inverse, const float* residual, float* grad_x, float* grad_weight,
                         float* grad_bias) {
  const int64_t dim = rows.dim;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float *g_row = grad + row * dim, *x_row = x + row * dim, center = mean[row], inv = inverse[row];
    Lanes first{}, second{};  // sums of the normalised value's gradient, alone and times that value
    each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes g, a, w, gw, gb;
      load(g_row + i, n, g), load(x_row + i, n, a), load(weight + i, n, w);
      load(grad_weight + i, n, gw), load(grad_bias + i, n, gb);
      const Lanes hat = (a - center) * inv;
      store(grad_weight + i, n, gw + g * hat);
      store(grad_bias + i, n, gb + g);
      first += g * w;
      second += g * w * hat;
    });
    const float shift = sum(first) / dim, slope = sum(second) / dim;
    each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes g, a, w, r{};
      load(g_row + i, n, g), load(x_row + i, n, a), load(weight + i, n, w);
      if (residual) load(residual + row * dim + i, n, r);
      store(grad_x + row * dim + i, n, r + (g * w - shift - (a - center) * inv * slope) * inv);
    });
  }
}

void add_bias(const Rows& rows, const float* x, const float* bias, float* out) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t at = row * rows.dim;
    const float scale = scale_of(rows, row);
    each_lanes(rows.dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a, b;
      load(x + at + i, n, a), load(bias + i, n, b);
      store(out + at + i, n, a + scale * b);
    });
  }
}

template <class Out>
void gelu(const Rows& rows, const float* x, const float* bias, Out* kept, Out* out) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t at = row * rows.dim;
    const float scale = scale_of(rows, row);
    each_lanes(rows.dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a, b, erf;
      load(x + at + i, n, a), load(bias + i, n, b);
      a += b;
      if constexpr (std::is_same_v<Out, Bfloat16>) {
        HalfLanes halves;
        narrow(a, halves), widen(halves, a);
        if (kept) store(kept + at + i, n, halves);
      }
      error_function<Out>(a * 0.70710678f, erf);
      store(out + at + i, n, scale * 0.5f * a * (1.0f + erf));
    });
  }
}

template <class Out>
void gelu_backward(const Rows& rows, const Out* x, const float* bias, const float* grad, Out* out, Out* grad_x,
                   float* grad_bias) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t at = row * rows.dim;
    const float scale = scale_of(rows, row);
    each_lanes(rows.dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a, g, gb, erf, bell;
      load(x + at + i, n, a), load(grad + at + i, n, g), load(grad_bias + i, n, gb);
      if constexpr (std::is_same_v<Out, Bfloat16>) {
        rough_power(a * a * -0.72134752f, bell);
      } else {
        Lanes b;
        load(bias + i, n, b);
        a += b;
        exponential(a * a * -0.5f, bell);
      }
      error_function<Out>(a * 0.70710678f, erf);
      const Lanes below = 0.5f + 0.5f * erf;  // the normal distribution up to a
      g *= scale * (below + a * bell * 0.39894228f);
      store(out + at + i, n, scale * a * below);
      store(grad_x + at + i, n, g);
      store(grad_bias + i, n, gb + g);
    });
  }
}

void sum_rows(const Rows& rows, const float* x, float* total, Bfloat16* rounded) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float scale = scale_of(rows, row);
    each_lanes(rows.dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes a, t;
      load(x + row * rows.dim + i, n, a);
      if (rounded) {
        BitLanes bits;
        round_bits(a, bits);  // to the last bit, whatever the values
        store(rounded + row * rows.dim + i, n, __builtin_convertvector(bits, HalfLanes));
      }
      if (!total) return;
      load(total + i, n, t);
      store(total + i, n, t + scale * a);
    });
  }
}

}  // namespace
}  // namespace mae
