/*
 * model.c: models that score rows of features: sums over trees, or over weighted features, and a link. Nodes lie in one
 * array, children behind their parents, so a walk ends however wrong they are; what a node refers to is checked once.
 * Knows no file format: lua/nfengine/ml reads those.
 *
 * Results are those of the libraries that made the models, to the last digits: they compare and add in single or in
 * double precision, which is_single says.
 */
#include "base.h"

#include <math.h>

enum {
  BLOCK_ROWS = 64, /* so many take their way through a tree before the next tree: its nodes stay in the caches */
  MOST_COPIES = 9  /* arrays among the parts */
};

struct nf_model {
  struct nf_model_parts parts; /* with arrays of its own */
  void *copies[MOST_COPIES];   /* these */
  uint32_t copy_count;
  double *rows; /* a block of rows, as trees and weights see them */
};

/* ---- making one ---- */

static bool check_leaf(const struct nf_model_parts *p, uint32_t at, char *error) {
  const struct nf_tree_node *leaf = &p->nodes[at];
  if (leaf->yes < 1 || leaf->yes > p->node_count - at) {
    nf_fail(error, "node %u: a leaf of %u values, expected 1 to %u", at, leaf->yes, p->node_count - at);
    return false;
  }
  if (leaf->feature >= p->output_count) {
    nf_fail(error, "node %u: a value of output %u, expected one below %u", at, leaf->feature, p->output_count);
    return false;
  }
  /* What stands behind the next one is that one's to check. */
  if (leaf->yes > 1 && (leaf[1].split != NF_SPLIT_LEAF || leaf[1].yes != leaf->yes - 1)) {
    nf_fail(error, "node %u: a leaf of %u values, expected one of %u behind it", at, leaf->yes, leaf->yes - 1);
    return false;
  }
  return true;
}

static bool check_split(const struct nf_model_parts *p, uint32_t at, char *error) {
  const struct nf_tree_node *node = &p->nodes[at];
  const uint32_t nearer = node->yes < node->no ? node->yes : node->no;
  const uint32_t further = node->yes < node->no ? node->no : node->yes;
  if (node->split > NF_SPLIT_IN) nf_fail(error, "node %u: unknown way to compare: %d", at, node->split);
  else if (node->feature >= p->feature_count)
    nf_fail(error, "node %u: feature %u, expected one below %u", at, node->feature, p->feature_count);
  else if (nearer <= at || further >= p->node_count)
    nf_fail(error, "node %u: goes on to %u or %u, expected nodes behind it, below %u", at, node->yes, node->no,
            p->node_count);
  else if (node->split == NF_SPLIT_IN && (node->set > p->set_words || node->words > p->set_words - node->set))
    nf_fail(error, "node %u: a set of %u words from %u, expected them within %u", at, node->words, node->set,
            p->set_words);
  else return true;
  return false;
}

static bool check(const struct nf_model_parts *p, char *error) {
  enum { MOST = 1 << 16 }; /* features, outputs */
  if (p->feature_count < 1 || p->feature_count > MOST || p->output_count < 1 || p->output_count > MOST) {
    nf_fail(error, "%u features, %u outputs: expected 1 to %d of each", p->feature_count, p->output_count, MOST);
    return false;
  }
  if (p->link >= NF_LINK_COUNT) {
    nf_fail(error, "unknown link: %d", p->link);
    return false;
  }
  for (uint32_t i = 0; i < p->node_count; i++) {
    if (!(p->nodes[i].split == NF_SPLIT_LEAF ? check_leaf : check_split)(p, i, error)) return false;
  }
  for (uint32_t i = 0; i < p->tree_count; i++) {
    if (p->trees[i] < p->node_count) continue;
    nf_fail(error, "tree %u: begins with node %u, expected one below %u", i, p->trees[i], p->node_count);
    return false;
  }
  return true;
}

/* A copy of an array, which belongs to the model. NULL for one that has no part in it; *is_there becomes false where
   there is no memory. */
static void *copy_of(struct nf_model *m, const void *from, size_t count, size_t size, bool *is_there) {
  if (!from || !count || !*is_there) return NULL;
  void *copy = calloc(count, size);
  if (copy) memcpy(copy, from, count * size);
  else *is_there = false;
  m->copies[m->copy_count++] = copy;
  return copy;
}

/* Decimal fractions of a file become what the library that wrote them had in memory. A leaf's value stands where a
   threshold does. */
static void round_nodes(struct nf_tree_node *nodes, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (nodes[i].split != NF_SPLIT_IN) nodes[i].threshold = (double)(float)nodes[i].threshold;
  }
}

static bool copy_parts(struct nf_model *m, const struct nf_model_parts *p) {
  const size_t features = p->feature_count, outputs = p->output_count;
  bool is_there = true;
  struct nf_model_parts *own = &m->parts;
  *own = *p;
  struct nf_tree_node *nodes = copy_of(m, p->nodes, p->node_count, sizeof *p->nodes, &is_there);
  if (nodes && p->is_single) round_nodes(nodes, p->node_count);
  own->nodes = nodes;
  own->trees = copy_of(m, p->trees, p->tree_count, sizeof *p->trees, &is_there);
  own->sets = copy_of(m, p->sets, p->set_words, sizeof *p->sets, &is_there);
  own->fills = copy_of(m, p->fills, features, sizeof *p->fills, &is_there);
  own->offsets = copy_of(m, p->offsets, features, sizeof *p->offsets, &is_there);
  own->scales = copy_of(m, p->scales, features, sizeof *p->scales, &is_there);
  own->shifts = copy_of(m, p->shifts, features, sizeof *p->shifts, &is_there);
  own->weights = copy_of(m, p->weights, features * outputs, sizeof *p->weights, &is_there);
  own->base = copy_of(m, p->base, outputs, sizeof *p->base, &is_there);
  m->rows = calloc(features, BLOCK_ROWS * sizeof *m->rows);
  return is_there && m->rows;
}

struct nf_model *nf_model_new(const struct nf_model_parts *parts, char *error) {
  if (!check(parts, error)) return NULL;
  struct nf_model *m = calloc(1, sizeof *m);
  if (m && copy_parts(m, parts)) return m;
  nf_fail(error, "out of memory for a model");
  nf_model_free(m);
  return NULL;
}

void nf_model_free(struct nf_model *m) {
  if (!m) return;
  for (uint32_t i = 0; i < m->copy_count; i++) free(m->copies[i]);
  free(m->rows);
  free(m);
}

/* ---- rows ---- */

static double rounded(const struct nf_model_parts *p, double value) {
  return p->is_single ? (double)(float)value : value;
}

static void prepare_row(const struct nf_model_parts *p, const double *given, double *row) {
  for (uint32_t i = 0; i < p->feature_count; i++) {
    double x = rounded(p, given[i]);
    if (p->fills && isnan(x)) x = p->fills[i];
    if (p->offsets) x = rounded(p, x - p->offsets[i]);
    if (p->scales) x = rounded(p, x * p->scales[i]);
    if (p->shifts) x = rounded(p, x + p->shifts[i]);
    row[i] = x;
  }
}

/* ---- trees ---- */

static bool has_category(const struct nf_model_parts *p, const struct nf_tree_node *node, double x) {
  enum { BITS = 32 };
  if (!(x >= 0 && x <= (double)UINT32_MAX)) return false;
  const uint32_t category = (uint32_t)x, number = category / BITS;
  uint32_t first = 0, behind = node->words;
  /* Looked for by halves; first where it stands in a set without gaps. */
  for (uint32_t at = number < behind ? number : behind / 2; first < behind; at = first + (behind - first) / 2) {
    const struct nf_categories *word = &p->sets[node->set + at];
    if (word->number == number) return word->bits >> category % BITS & 1;
    if (word->number < number) first = at + 1;
    else behind = at;
  }
  return false;
}

static bool compare(const struct nf_model_parts *p, const struct nf_tree_node *node, double x) {
  switch (node->split) {
  case NF_SPLIT_LT: return x < node->threshold;
  case NF_SPLIT_LE: return x <= node->threshold;
  case NF_SPLIT_GT: return x > node->threshold;
  case NF_SPLIT_GE: return x >= node->threshold;
  case NF_SPLIT_EQ: return x == node->threshold;
  case NF_SPLIT_NE: return x != node->threshold;
  default: return has_category(p, node, x);
  }
}

static bool says_yes(const struct nf_model_parts *p, const struct nf_tree_node *node, double x) {
  const bool when_absent = node->absent & NF_ABSENT_YES;
  if (NF_UNLIKELY(isnan(x))) {
    if (!(node->absent & NF_ABSENT_IS_ZERO)) return when_absent;
    x = 0;
  }
  if (NF_UNLIKELY(node->absent & NF_ZERO_IS_ABSENT) && fabs(x) <= (double)1e-35f) return when_absent;
  return compare(p, node, x);
}

static void add_tree(const struct nf_model_parts *p, uint32_t tree, const double *row, double *sums) {
  const struct nf_tree_node *node = &p->nodes[p->trees[tree]];
  while (node->split != NF_SPLIT_LEAF) node = &p->nodes[says_yes(p, node, row[node->feature]) ? node->yes : node->no];
  for (uint32_t left = node->yes; left; left--, node++) {
    sums[node->feature] = rounded(p, sums[node->feature] + node->value);
  }
}

/* ---- sums and links ---- */

static void add_weights(const struct nf_model_parts *p, const double *row, double *sums) {
  const double *weight = p->weights;
  for (uint32_t k = 0; k < p->output_count; k++) {
    double sum = 0;
    for (uint32_t i = 0; i < p->feature_count; i++) sum += *weight++ * row[i];
    sums[k] = rounded(p, sums[k] + sum);
  }
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* The inverse of the error function (Winitzki 2008), with the constant that ONNX's runtimes have. */
static double inverse_erf(double x) {
  const double pi = acos(-1), a = 0.147, log_ = log((1 - x) * (1 + x)), half = 2 / (pi * a) + log_ / 2;
  return copysign(sqrt(sqrt(half * half - log_ / a) - half), x);
}

static void softmax(double *sums, uint32_t count, bool keeps_zeros) {
  double largest = sums[0], total = 0;
  for (uint32_t k = 1; k < count; k++) largest = fmax(largest, sums[k]);
  for (uint32_t k = 0; k < count; k++) {
    if (!keeps_zeros || fabs(sums[k]) > 1e-7) total += sums[k] = exp(sums[k] - largest);
    else sums[k] *= exp(-largest);
  }
  for (uint32_t k = 0; k < count; k++) sums[k] /= total;
}

static double linked(const struct nf_model_parts *p, double x) {
  switch (p->link) {
  case NF_LINK_LOGISTIC: return logistic(p->slope * x);
  case NF_LINK_PROBIT: return sqrt(2) * inverse_erf(2 * x - 1);
  case NF_LINK_EXP: return exp(x);
  case NF_LINK_LOG1P_EXP: return log1p(exp(x));
  case NF_LINK_SQUARE: return copysign(x * x, x);
  case NF_LINK_HINGE: return x > 0;
  default: return x;
  }
}

static void link_sums(const struct nf_model_parts *p, double *sums) {
  if (p->link == NF_LINK_SOFTMAX || p->link == NF_LINK_SOFTMAX_ZERO) {
    softmax(sums, p->output_count, p->link == NF_LINK_SOFTMAX_ZERO);
  } else if (p->link != NF_LINK_NONE) {
    for (uint32_t k = 0; k < p->output_count; k++) sums[k] = linked(p, sums[k]);
  }
  if (!p->is_normalized) return;
  double total = 0;
  for (uint32_t k = 0; k < p->output_count; k++) total += fabs(sums[k]);
  for (uint32_t k = 0; k < p->output_count; k++) {
    if (total > 0) sums[k] /= total;
    else if (p->is_even) sums[k] = 1.0 / p->output_count;
  }
}

static void finish(const struct nf_model_parts *p, const double *row, double *sums) {
  for (uint32_t k = 0; p->divisor != 1 && k < p->output_count; k++) {
    sums[k] = rounded(p, sums[k] / p->divisor);
    if (p->base) sums[k] = rounded(p, sums[k] + p->base[k]);
  }
  if (p->weights) add_weights(p, row, sums);
  link_sums(p, sums);
}

static void predict_block(struct nf_model *m, const double *rows, uint32_t count, double *outputs) {
  const struct nf_model_parts *p = &m->parts;
  const uint32_t features = p->feature_count, width = p->output_count;
  for (uint32_t i = 0; i < count; i++) {
    prepare_row(p, rows + (size_t)i * features, m->rows + (size_t)i * features);
    for (uint32_t k = 0; k < width; k++) {
      outputs[(size_t)i * width + k] = p->base && p->divisor == 1 ? rounded(p, p->base[k]) : 0;
    }
  }
  for (uint32_t tree = 0; tree < p->tree_count; tree++) {
    for (uint32_t i = 0; i < count; i++) {
      add_tree(p, tree, m->rows + (size_t)i * features, outputs + (size_t)i * width);
    }
  }
  for (uint32_t i = 0; i < count; i++) finish(p, m->rows + (size_t)i * features, outputs + (size_t)i * width);
}

void nf_model_predict(struct nf_model *m, const double *rows, uint32_t count, double *outputs) {
  const size_t features = m->parts.feature_count, width = m->parts.output_count;
  for (uint32_t done = 0; done < count; done += BLOCK_ROWS) {
    const uint32_t here = count - done < BLOCK_ROWS ? count - done : BLOCK_ROWS;
    predict_block(m, rows + done * features, here, outputs + done * width);
  }
}
