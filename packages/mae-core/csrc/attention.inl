// Attention, one head at a time: its queries, keys and values are copied out of qkv, with rows padded to whole lanes,
// and its small products run here, in registers.
namespace mae {
namespace {

constexpr int64_t kQueries = 64;  // at a time, so that their scores stay in the cache

MAE_INLINE int64_t padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// An operand whose element [i, k] is at data[i * row + k * column].
template <class T>
struct Operand {
  const T* data;
  int64_t row, column;
};

MAE_INLINE void multiply_add(float factor, const Lanes& row, Lanes& sum) { sum += factor * row; }
MAE_INLINE void load(const int32_t* from, IntLanes& x) { std::memcpy(&x, from, sizeof x); }
// Adds the products of two bfloat16 each, which share a word.
MAE_INLINE void multiply_add(int32_t factor, const IntLanes& row, Lanes& sum) {
  const IntLanes pair = IntLanes{} + factor;
#ifdef MAE_HAS_PAIRS
  sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pair, (__m512bh)row);
#else
  sum += (Lanes)(pair << 16) * (Lanes)(row << 16);
  sum += (Lanes)(pair & -65536) * (Lanes)(row & -65536);
#endif
}

// c[R, 16 V] = a[R, depth] b[depth, 16 V], added to c where `adds`; T is float, or int32_t for pairs of bfloat16.
template <int R, int V, class T>
MAE_INLINE void product_tile(int64_t depth, Operand<T> a, const T* b, int64_t ldb, bool adds, float* c, int64_t ldc) {
  Lanes sums[R][V];
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < V; ++j) {
      if (adds) load(c + i * ldc + j * kLanes, sums[i][j]);
      else sums[i][j] = Lanes{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    std::conditional_t<std::is_same_v<T, float>, Lanes, IntLanes> row[V];
    for (int j = 0; j < V; ++j) load(b + k * ldb + j * kLanes, row[j]);
    for (int i = 0; i < R; ++i) {
      const T factor = a.data[i * a.row + k * a.column];
      for (int j = 0; j < V; ++j) multiply_add(factor, row[j], sums[i][j]);
    }
  }
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < V; ++j) store(c + i * ldc + j * kLanes, sums[i][j]);
  }
}

// The tile of R rows or of as many as there are.
template <int R, int V, class T>
MAE_INLINE void product_rows(int64_t rows, int64_t depth, Operand<T> a, const T* b, int64_t ldb, bool adds, float* c,
                             int64_t ldc) {
  if (rows == R) return product_tile<R, V>(depth, a, b, ldb, adds, c, ldc);
  if constexpr (R > 1) product_rows<R - 1, V>(rows, depth, a, b, ldb, adds, c, ldc);
}

template <int V, class T>
void product_columns(int64_t rows, int64_t depth, Operand<T> a, const T* b, int64_t ldb, bool adds, float* c,
                     int64_t ldc) {
  // Tiles of nearly the same height: a last one of one row would wait for its own sums.
  const int64_t tiles = (rows + MAE_TILE_ROWS - 1) / MAE_TILE_ROWS;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
    const Operand<T> part{a.data + begin * a.row, a.row, a.column};
    product_rows<MAE_TILE_ROWS, V>(end - begin, depth, part, b, ldb, adds, c + begin * ldc, ldc);
  }
}

// c[rows, columns] = a[rows, depth] b[depth, columns]; columns are a multiple of 16.
template <class T>
void product(int64_t rows, int64_t columns, int64_t depth, Operand<T> a, const T* b, int64_t ldb, bool adds,
             float* c, int64_t ldc) {
  int64_t j = 0;
  for (; j + MAE_TILE_LANES * kLanes <= columns; j += MAE_TILE_LANES * kLanes) {
    product_columns<MAE_TILE_LANES>(rows, depth, a, b + j, ldb, adds, c + j, ldc);
  }
  for (; j < columns; j += kLanes) product_columns<1>(rows, depth, a, b + j, ldb, adds, c + j, ldc);
}

// One of q, k, v (0, 1, 2) of a head in qkv.
struct Slice {
  const float *data, *bias;
  int64_t row;
};

MAE_INLINE Slice slice_of(const Attention& a, int64_t head, int64_t part) {
  const int64_t dim = a.heads * a.head_dim, at = part * dim + head % a.heads * a.head_dim;
  return {a.qkv + head / a.heads * a.length * 3 * dim + at, a.bias ? a.bias + at : nullptr, 3 * dim};
}

// to[rows, padded] = (slice + bias) * factor, 0 in the padding
void copy_rows(const Slice& from, int64_t begin, int64_t end, int64_t dim, float factor, float* to) {
  for (int64_t row = begin; row < end; ++row, to += padded(dim)) {
    each_lanes(dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes x, b{};
      load(from.data + row * from.row + i, n, x);
      if (from.bias) load(from.bias + i, n, b);
      store(to + i, (x + b) * factor);
    });
  }
}

// to[dim, padded(rows)] = from[rows, dim] transposed, 0 in the padding
template <class T>
void transpose(const T* from, int64_t ld, int64_t rows, int64_t dim, T* to) {
  const int64_t out = padded(rows);
  for (int64_t i = 0; i < dim; ++i) {
    for (int64_t row = 0; row < rows; ++row) to[i * out + row] = from[row * ld + i];
    for (int64_t row = rows; row < out; ++row) to[i * out + row] = T{};
  }
}

// Working memory of a head, cut into its matrices.
struct Scratch {
  float *keys, *values, *grad_keys, *grad_values;   // [L, d]
  float *keys_t, *values_t;                         // [d, L]
  float *queries, *results, *scores, *grad_scores;  // of some queries: [Q, d], [Q, d], [Q, L], [Q, L]
};

int64_t attention_scratch(const Attention& a) {
  const int64_t d = padded(a.head_dim), l = padded(a.length);
  return 4 * a.length * d + 2 * a.head_dim * l + kQueries * (2 * d + 2 * l);
}

MAE_INLINE Scratch cut(const Attention& a, float* memory) {
  const int64_t d = padded(a.head_dim), l = padded(a.length), ld = a.length * d, dl = a.head_dim * l;
  Scratch s;
  s.keys = memory, s.values = s.keys + ld, s.grad_keys = s.values + ld, s.grad_values = s.grad_keys + ld;
  s.keys_t = s.grad_values + ld, s.values_t = s.keys_t + dl;
  s.queries = s.values_t + dl, s.results = s.queries + kQueries * d;
  s.scores = s.results + kQueries * d, s.grad_scores = s.scores + kQueries * l;
  return s;
}

// Turn a row of scores into exponentials, 0 in the padding; return the logarithm of their sum.
MAE_INLINE float exponentials(int64_t length, float* row, float& total) {
  Lanes most = Lanes{} + row[0], sums{};
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes x;
    load(row + i, x);
    if (n < kLanes) fill_behind(n, row[0], x);
    most = x > most ? x : most;
  });
  const float top = highest(most);
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes x, e;
    load(row + i, x);
    exponential(x - top, e);
    if (n < kLanes) fill_behind(n, 0.0f, e);
    sums += e;
    store(row + i, e);
  });
  total = sum(sums);
  return top + std::log(total);
}

void attention(const Attention& a, int64_t head, float* memory, float* attended, float* log_sum) {
  const Scratch s = cut(a, memory);
  const int64_t length = a.length, dim = a.head_dim, d = padded(dim), l = padded(length), asked = length - a.first;
  const float root = 1.0f / std::sqrt(static_cast<float>(dim)), scale = a.scale ? a.scale[head / a.heads] : 1.0f;
  const Slice queries = slice_of(a, head, 0);
  copy_rows(slice_of(a, head, 1), 0, length, dim, 1.0f, s.keys);
  copy_rows(slice_of(a, head, 2), 0, length, dim, 1.0f, s.values);
  transpose(s.keys, d, length, dim, s.keys_t);
  const int64_t start = (head / a.heads * asked * a.heads + head % a.heads) * dim;
  for (int64_t begin = 0; begin < asked; begin += kQueries) {
    const int64_t count = asked - begin < kQueries ? asked - begin : kQueries;
    copy_rows(queries, a.first + begin, a.first + begin + count, dim, root, s.queries);
    product<float>(count, l, dim, {s.queries, d, 1}, s.keys_t, l, false, s.scores, l);
    float totals[kQueries];
    for (int64_t i = 0; i < count; ++i) {
      log_sum[head * asked + begin + i] = exponentials(length, s.scores + i * l, totals[i]);
    }
    product<float>(count, d, length, {s.scores, l, 1}, s.values, d, false, s.results, d);
    for (int64_t i = 0; i < count; ++i) {
      const float factor = scale / totals[i];
      each_lanes(dim, [&](int64_t j, int64_t n) MAE_INLINE_LAMBDA {
        Lanes x;
        load(s.results + i * d + j, x);
        store(attended + start + (begin + i) * a.heads * dim + j, n, x * factor);
      });
    }
  }
}

// Copy the gradient of some results, times the sample's scale; return in `means` each row's product with its result.
void copy_gradients(const Attention& a, int64_t at, int64_t count, float scale, const float* grad,
                    const float* attended, float* to, float* means) {
  for (int64_t i = 0; i < count; ++i) {
    Lanes products{};
    const int64_t row = at + i * a.heads * a.head_dim;
    each_lanes(a.head_dim, [&](int64_t j, int64_t n) MAE_INLINE_LAMBDA {
      Lanes g, x;
      load(grad + row + j, n, g), load(attended + row + j, n, x);
      products += g * x;  // the result carries the scale already
      store(to + i * padded(a.head_dim) + j, g * scale);
    });
    means[i] = sum(products);
  }
}

// From scores and the weights' gradient: the weights, and the gradient of the scores in the other's place.
void softmax_backward(int64_t length, float log_sum, float mean, float* scores, float* grad) {
  each_lanes(length, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
    Lanes x, g, weight;
    load(scores + i, x), load(grad + i, g);
    exponential(x - log_sum, weight);
    if (n < kLanes) fill_behind(n, 0.0f, weight);
    store(scores + i, weight);
    store(grad + i, weight * (g - mean));
  });
}

// Write rows of a part's gradient back into qkv's.
void write_rows(const Attention& a, int64_t head, int64_t part, int64_t begin, int64_t end, float factor,
                const float* from, float* grad_qkv) {
  float* to = grad_qkv + (slice_of(a, head, part).data - a.qkv);
  for (int64_t row = begin; row < end; ++row, from += padded(a.head_dim)) {
    each_lanes(a.head_dim, [&](int64_t i, int64_t n) MAE_INLINE_LAMBDA {
      Lanes x;
      load(from + i, x);
      store(to + row * 3 * a.heads * a.head_dim + i, n, x * factor);
    });
  }
}

void attention_backward(const Attention& a, int64_t head, float* memory, const float* attended, const float* log_sum,
                        const float* grad, float* grad_qkv) {
  const Scratch s = cut(a, memory);
  const int64_t length = a.length, dim = a.head_dim, d = padded(dim), l = padded(length), asked = length - a.first;
  const float root = 1.0f / std::sqrt(static_cast<float>(dim)), scale = a.scale ? a.scale[head / a.heads] : 1.0f;
  const Slice queries = slice_of(a, head, 0);
  copy_rows(slice_of(a, head, 1), 0, length, dim, 1.0f, s.keys);
  copy_rows(slice_of(a, head, 2), 0, length, dim, 1.0f, s.values);
  transpose(s.keys, d, length, dim, s.keys_t);
  transpose(s.values, d, length, dim, s.values_t);
  const int64_t start = (head / a.heads * asked * a.heads + head % a.heads) * dim;
  for (int64_t begin = 0; begin < asked; begin += kQueries) {
    const int64_t count = asked - begin < kQueries ? asked - begin : kQueries;
    const bool adds = begin > 0;
    float means[kQueries];
    copy_rows(queries, a.first + begin, a.first + begin + count, dim, root, s.queries);
    copy_gradients(a, start + begin * a.heads * dim, count, scale, grad, attended, s.results, means);
    product<float>(count, l, dim, {s.queries, d, 1}, s.keys_t, l, false, s.scores, l);
    product<float>(count, l, dim, {s.results, d, 1}, s.values_t, l, false, s.grad_scores, l);
    for (int64_t i = 0; i < count; ++i) {
      softmax_backward(length, log_sum[head * asked + begin + i], means[i], s.scores + i * l, s.grad_scores + i * l);
    }
    product<float>(length, d, count, {s.scores, 1, l}, s.results, d, adds, s.grad_values, d);
    product<float>(length, d, count, {s.grad_scores, 1, l}, s.queries, d, adds, s.grad_keys, d);
    product<float>(count, d, length, {s.grad_scores, l, 1}, s.keys, d, false, s.queries, d);
    write_rows(a, head, 0, a.first + begin, a.first + begin + count, root, s.queries, grad_qkv);
  }
  for (int64_t row = 0; row < a.first; ++row) {
    std::memset(grad_qkv + (queries.data - a.qkv) + row * queries.row, 0, sizeof(float) * dim);
  }
  write_rows(a, head, 1, 0, length, 1.0f, s.grad_keys, grad_qkv);
  write_rows(a, head, 2, 0, length, 1.0f, s.grad_values, grad_qkv);
}

}  // namespace
}  // namespace mae
