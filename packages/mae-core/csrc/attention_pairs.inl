// Attention with operands of bfloat16, one head at a time. Where a product sums, two values that follow each other
// share a word; the processor multiplies such pairs, and other instruction sets do it in two steps.
namespace mae {
namespace {

// to[rows / 2 rounded up, dim]: of each column the elements of two rows of from, the first in the lower half.
void pair_rows(const Bfloat16* from, int64_t rows, int64_t dim, int32_t* to) {
  for (int64_t row = 0; row < rows; row += 2, to += dim) {
    for (int64_t j = 0; j < dim; j += kLanes) {
      HalfLanes first, second{};
      std::memcpy(&first, from + row * dim + j, sizeof first);
      if (row + 1 < rows) std::memcpy(&second, from + (row + 1) * dim + j, sizeof second);
      store_pairs(first, second, to + j);
    }
  }
}

// Where a part of a head (q, k, v: 0, 1, 2) begins in a row of [N, L, 3, h, d].
MAE_INLINE int64_t column_of(const Attention& a, int64_t head, int64_t part) {
  return (part * a.heads + head % a.heads) * a.head_dim;
}

// Working memory of a head, cut into its matrices; d and L are padded to whole lanes.
struct PairScratch {
  Bfloat16* heads;                      // q, k, v: [3, L, d]
  int32_t *keys_t, *values_t;           // pairs along d: [d / 2, L]
  int32_t* columns;                     // pairs along L of keys or values: [L / 2, d]
  int32_t *queries, *gradients;         // pairs along some queries: [Q / 2, d]
  int32_t *weights, *grad_scores;       // pairs along them: [Q / 2, L]
  Bfloat16 *rows, *results;             // of weights or the gradient of scores, and of gradients: [Q, L], [Q, d]
  float *scores, *grad_weights, *sums;  // [Q, L], [Q, L], [Q, d]
  float *grad_keys, *grad_values;       // [L, d]
  int64_t words = 0;

  PairScratch(const Attention& a, float* memory) {
    const int64_t d = padded(a.head_dim), l = padded(a.length);
    const auto take = [&](auto*& part, int64_t count) {
      part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(memory + words);
      words += (count * sizeof *part + sizeof(float) - 1) / sizeof(float);
    };
    take(heads, 3 * a.length * d), take(keys_t, d / 2 * l), take(values_t, d / 2 * l), take(columns, l / 2 * d);
    take(queries, kQueries / 2 * d), take(gradients, kQueries / 2 * d);
    take(weights, kQueries / 2 * l), take(grad_scores, kQueries / 2 * l);
    take(rows, kQueries * l), take(results, kQueries * d);
    take(scores, kQueries * l), take(grad_weights, kQueries * l), take(sums, kQueries * d);
    take(grad_keys, l * d), take(grad_values, l * d);
  }
};

int64_t rounded_attention_scratch(const Attention& a) { return PairScratch(a, nullptr).words; }

MAE_INLINE const int32_t* pairs_of(const Bfloat16* x) { return reinterpret_cast<const int32_t*>(x); }

constexpr int64_t kAhead = 8;  // rows

// Round q, k and v, with their bias, into [3, L, d], 0 in the padding.
void round_heads(const Attention& a, int64_t head, Bfloat16* to) {
  for (int64_t part = 0; part < 3; ++part) {
    const Slice from = slice_of(a, head, part);
    for (int64_t row = 0; row < a.length; ++row, to += padded(a.head_dim)) {
      each_lanes(a.head_dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
        Lanes x, b{};
        __builtin_prefetch(from.data + (row + kAhead) * from.row + i);  // rows are pages apart
        load(from.data + row * from.row + i, n, x);
        if (from.bias) load(from.bias + i, n, b);
        store(to + i, kLanes, x + b);
      });
    }
  }
}

// Round 2^(scores * factor - the highest) into a row, 0 in the padding; return the binary logarithm of their sum.
float rounded_exponentials(int64_t length, float factor, const float* scores, Bfloat16* to, float& total) {
  Lanes most = Lanes{} + scores[0], sums{};
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes x;
    load(scores + i, x);
    if (n < kLanes) fill_behind(n, scores[0], x);
    most = x > most ? x : most;
  });
  const float top = highest(most) * factor;
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes x, e;
    load(scores + i, x);
    rough_power(x * factor - top, e);
    if (n < kLanes) fill_behind(n, 0.0f, e);
    sums += e;
    store(to + i, kLanes, e);
  });
  total = sum(sums);
  return top + std::log2(total);
}

// What scores are multiplied by, so that powers of two take the place of exponentials.
MAE_INLINE float score_factor(const Attention& a) {
  return 1.44269504f / std::sqrt(static_cast<float>(a.head_dim));
}

void rounded_attention(const Attention& a, int64_t head, float* memory, Bfloat16* kept, Bfloat16* attended,
                       float* log_sum) {
  const PairScratch s(a, memory);
  const int64_t length = a.length, dim = a.head_dim, d = padded(dim), l = padded(length), asked = length - a.first;
  Bfloat16* const queries = kept ? kept + head * 3 * length * d : s.heads;
  const Bfloat16 *keys = queries + length * d, *values = keys + length * d;
  const float scale = a.scale ? a.scale[head / a.heads] : 1.0f, factor = score_factor(a);
  round_heads(a, head, queries);
  transpose(pairs_of(keys), d / 2, length, d / 2, s.keys_t);
  pair_rows(values, length, d, s.columns);
  const int64_t start = (head / a.heads * asked * a.heads + head % a.heads) * dim;
  for (int64_t begin = 0; begin < asked; begin += kQueries) {
    const int64_t count = asked - begin < kQueries ? asked - begin : kQueries;
    const int32_t* const some = pairs_of(queries + (a.first + begin) * d);
    product<int32_t>(count, l, d / 2, {some, d / 2, 1}, s.keys_t, l, false, s.scores, l);
    float totals[kQueries];
    for (int64_t i = 0; i < count; ++i) {
      log_sum[head * asked + begin + i] =
          rounded_exponentials(length, factor, s.scores + i * l, s.rows + i * l, totals[i]);
    }
    product<int32_t>(count, d, (length + 1) / 2, {pairs_of(s.rows), l / 2, 1}, s.columns, d, false, s.sums, d);
    for (int64_t i = 0; i < count; ++i) {
      const float share = scale / totals[i];
      each_lanes(dim, [&](int64_t j, int64_t n) MAE_INLINE_LAMBDA {
        Lanes x;
        load(s.sums + i * d + j, x);
        store(attended + start + (begin + i) * a.heads * dim + j, n, x * share);
      });
    }
  }
}

// From two rows of scores and of the weights' gradient: pairs of weights, and of the gradient of scores, and its rows.
void rounded_softmax_backward(int64_t length, int64_t l, float factor, const float* log_sums, const float* means,
                              const float* scores, const float* grad, int32_t* weights, int32_t* pairs,
                              Bfloat16* rows) {
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    HalfLanes weight[2], inner[2];
    for (int row = 0; row < 2; ++row) {
      Lanes x, g, w;
      load(scores + row * l + i, x), load(grad + row * l + i, g);
      rough_power(x * factor - log_sums[row], w);
      if (n < kLanes) fill_behind(n, 0.0f, w);
      narrow(w, weight[row]), narrow(w * (g - means[row]), inner[row]);
      store(rows + row * l + i, kLanes, inner[row]);
    }
    store_pairs(weight[0], weight[1], weights + i), store_pairs(inner[0], inner[1], pairs + i);
  });
}

// Round the gradient of some results, times the sample's scale; return in `means` each row's product with its result.
void round_gradients(const Attention& a, int64_t at, int64_t count, float scale, const float* grad,
                     const Bfloat16* attended, Bfloat16* to, float* means) {
  for (int64_t i = 0; i < count; ++i) {
    Lanes products{};
    const int64_t row = at + i * a.heads * a.head_dim;
    each_lanes(a.head_dim, [&](int64_t j, int64_t n) MAE_INLINE_LAMBDA {
      Lanes g, x;
      load(grad + row + j, n, g), load(attended + row + j, n, x);
      products += g * x;  // the result carries the scale already
      store(to + i * padded(a.head_dim) + j, kLanes, g * scale);
    });
    means[i] = sum(products);
  }
}

// Round rows of a part's gradient into that of qkv, and add them to the bias's.
void round_rows(const Attention& a, int64_t head, int64_t part, int64_t begin, int64_t end, float factor,
                const float* from, Bfloat16* grad_qkv, float* grad_bias) {
  const int64_t column = column_of(a, head, part), width = 3 * a.heads * a.head_dim;
  Bfloat16* const to = grad_qkv + head / a.heads * a.length * width + column;
  each_lanes(a.head_dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes total;
    load(grad_bias + column + i, n, total);
    for (int64_t row = begin; row < end; ++row) {
      Lanes x;
      load(from + (row - begin) * padded(a.head_dim) + i, x);
      store(to + row * width + i, n, x * factor);
      total += x * factor;
    }
    store(grad_bias + column + i, n, total);
  });
}

void rounded_attention_backward(const Attention& a, int64_t head, float* memory, const Bfloat16* kept,
                                const Bfloat16* attended, const float* log_sum, const float* grad, Bfloat16* grad_qkv,
                                float* grad_bias) {
  const PairScratch s(a, memory);
  const int64_t length = a.length, dim = a.head_dim, d = padded(dim), l = padded(length), asked = length - a.first;
  const Bfloat16 *queries = kept + head * 3 * length * d, *keys = queries + length * d, *values = keys + length * d;
  const float root = 1.0f / std::sqrt(static_cast<float>(dim)), scale = a.scale ? a.scale[head / a.heads] : 1.0f;
  for (int64_t part = 0; part < 3; ++part) {
    std::memset(grad_bias + column_of(a, head, part), 0, sizeof(float) * dim);
  }
  transpose(pairs_of(keys), d / 2, length, d / 2, s.keys_t);
  transpose(pairs_of(values), d / 2, length, d / 2, s.values_t);
  pair_rows(keys, length, d, s.columns);
  const int64_t start = (head / a.heads * asked * a.heads + head % a.heads) * dim;
  for (int64_t begin = 0; begin < asked; begin += kQueries) {
    const int64_t count = asked - begin < kQueries ? asked - begin : kQueries, pairs = (count + 1) / 2;
    const Bfloat16* const some = queries + (a.first + begin) * d;
    const bool adds = begin > 0;
    float means[kQueries], log_sums[kQueries];
    round_gradients(a, start + begin * a.heads * dim, count, scale, grad, attended, s.results, means);
    product<int32_t>(count, l, d / 2, {pairs_of(some), d / 2, 1}, s.keys_t, l, false, s.scores, l);
    product<int32_t>(count, l, d / 2, {pairs_of(s.results), d / 2, 1}, s.values_t, l, false, s.grad_weights, l);
    std::memcpy(log_sums, log_sum + head * asked + begin, sizeof(float) * count);
    if (count % 2) {  // the last one's partner weighs nothing
      log_sums[count] = 1e30f, means[count] = 0.0f;
      std::memset(s.scores + count * l, 0, sizeof(float) * l);
      std::memset(s.grad_weights + count * l, 0, sizeof(float) * l);
    }
    for (int64_t i = 0; i < count; i += 2) {
      rounded_softmax_backward(length, l, score_factor(a), log_sums + i, means + i, s.scores + i * l,
                               s.grad_weights + i * l, s.weights + i / 2 * l, s.grad_scores + i / 2 * l,
                               s.rows + i * l);
    }
    pair_rows(s.results, count, d, s.gradients);
    pair_rows(some, count, d, s.queries);
    product<int32_t>(length, d, pairs, {s.weights, 1, l}, s.gradients, d, adds, s.grad_values, d);
    product<int32_t>(length, d, pairs, {s.grad_scores, 1, l}, s.queries, d, adds, s.grad_keys, d);
    product<int32_t>(count, d, (length + 1) / 2, {pairs_of(s.rows), l / 2, 1}, s.columns, d, false, s.sums, d);
    round_rows(a, head, 0, a.first + begin, a.first + begin + count, root, s.sums, grad_qkv, grad_bias);
  }
  const int64_t width = 3 * a.heads * dim;
  for (int64_t row = 0; row < a.first; ++row) {
    std::memset(grad_qkv + (head / a.heads * length + row) * width + column_of(a, head, 0), 0, sizeof(Bfloat16) * dim);
  }
  round_rows(a, head, 1, 0, length, root, s.grad_keys, grad_qkv, grad_bias);
  round_rows(a, head, 2, 0, length, 1.0f, s.grad_values, grad_qkv, grad_bias);
}

}  // namespace
}  // namespace mae
