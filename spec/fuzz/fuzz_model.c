/*
 * fuzz_model.c: libFuzzer target for core/model.c. An input is what a model is made of, which may fit together or not:
 * then it is refused in one line; else it is asked about rows, one at a time and all at once, with the same answers.
 */
#include "target.h"

#include <math.h>

enum {
  FEATURES_MAX = 8,
  OUTPUTS_MAX = 6,
  NODES_MAX = 64,
  TREES_MAX = 8,
  WORDS_MAX = 8,
  ROWS = 70 /* a block and more */
};

/* Numbers as models and flows have them, and others. */
static double take_number(struct fuzz_input *in) {
  static const double others[] = {0.0, -0.0, 1e-36, 1e300, -1e300, 1e40, 31, 32, 4294967296.0, -0.5};
  const unsigned kind = fuzz_take(in, 1);
  if (kind < sizeof others / sizeof *others) return others[kind];
  if (kind == 0xff) return (double)NAN;
  if (kind == 0xfe) return (double)INFINITY;
  return ((int)fuzz_take(in, 1) - 128) / (kind & 1 ? 1.0 : 16.0);
}

/* An array that has no part in the model where the input says so. */
static const double *take_numbers(struct fuzz_input *in, double *numbers, uint32_t count) {
  if (!(fuzz_take(in, 1) & 1)) return NULL;
  for (uint32_t i = 0; i < count; i++) numbers[i] = take_number(in);
  return numbers;
}

static void take_node(struct fuzz_input *in, struct nf_tree_node *node, uint32_t at) {
  memset(node, 0, sizeof *node);
  node->split = (uint8_t)(fuzz_take(in, 1) % (NF_SPLIT_IN + 2));
  node->absent = (uint8_t)(fuzz_take(in, 1) & 7);
  node->feature = fuzz_take(in, 1);
  node->yes = node->split == NF_SPLIT_LEAF ? fuzz_take(in, 1) : at + fuzz_take(in, 1);
  node->no = at + fuzz_take(in, 1);
  if (node->split == NF_SPLIT_IN) {
    node->set = fuzz_take(in, 1);
    node->words = fuzz_take(in, 1);
  } else {
    node->threshold = take_number(in);
  }
}

static void check_answers(struct nf_model *model, const struct nf_model_parts *parts, struct fuzz_input *in) {
  static double rows[ROWS * FEATURES_MAX], all[ROWS * OUTPUTS_MAX], one[OUTPUTS_MAX];
  for (uint32_t i = 0; i < ROWS * parts->feature_count; i++) rows[i] = take_number(in);
  nf_model_predict(model, rows, ROWS, all);
  for (uint32_t i = 0; i < ROWS; i++) {
    nf_model_predict(model, rows + (size_t)i * parts->feature_count, 1, one);
    nf_require(memcmp(one, all + (size_t)i * parts->output_count, parts->output_count * sizeof *one) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct nf_tree_node nodes[NODES_MAX];
  static uint32_t trees[TREES_MAX];
  static struct nf_categories sets[WORDS_MAX];
  static double fills[FEATURES_MAX], offsets[FEATURES_MAX], scales[FEATURES_MAX], shifts[FEATURES_MAX];
  static double base[OUTPUTS_MAX], weights[FEATURES_MAX * OUTPUTS_MAX];
  struct fuzz_input in = {data, size};
  char error[NF_ERROR_SIZE] = "";
  struct nf_model_parts parts = {.nodes = nodes, .trees = trees, .sets = sets};
  parts.feature_count = fuzz_take(&in, 1) % (FEATURES_MAX + 1);
  parts.output_count = fuzz_take(&in, 1) % (OUTPUTS_MAX + 1);
  parts.node_count = fuzz_take(&in, 1) % (NODES_MAX + 1);
  parts.tree_count = fuzz_take(&in, 1) % (TREES_MAX + 1);
  parts.set_words = fuzz_take(&in, 1) % (WORDS_MAX + 1);
  parts.link = (uint8_t)(fuzz_take(&in, 1) % (NF_LINK_COUNT + 1));
  parts.is_single = fuzz_take(&in, 1) & 1;
  parts.is_normalized = fuzz_take(&in, 1) & 1;
  parts.is_even = fuzz_take(&in, 1) & 1;
  parts.divisor = take_number(&in);
  parts.slope = take_number(&in);
  parts.fills = take_numbers(&in, fills, parts.feature_count);
  parts.offsets = take_numbers(&in, offsets, parts.feature_count);
  parts.scales = take_numbers(&in, scales, parts.feature_count);
  parts.shifts = take_numbers(&in, shifts, parts.feature_count);
  parts.weights = take_numbers(&in, weights, parts.feature_count * parts.output_count);
  parts.base = take_numbers(&in, base, parts.output_count);
  for (uint32_t i = 0; i < parts.set_words; i++) {
    sets[i].number = fuzz_take(&in, 1);
    sets[i].bits = fuzz_take(&in, 4);
  }
  for (uint32_t i = 0; i < parts.tree_count; i++) trees[i] = fuzz_take(&in, 1);
  for (uint32_t i = 0; i < parts.node_count; i++) take_node(&in, &nodes[i], i);
  struct nf_model *model = nf_model_new(&parts, error);
  if (model) check_answers(model, &parts, &in);
  else nf_require(error[0] && !strchr(error, '\n'));
  nf_model_free(model);
  return 0;
}
