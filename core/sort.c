/*
 * sort.c: sorts numbers in place, by Shell's method with gaps as Ciura has them: arrays are short, most have a few
 * elements, and nothing is allocated.
 */
#include "base.h"

static const uint32_t gaps[] = {31201, 13867, 6163, 2739, 1217, 541, 240, 107, 48, 21, 10, 4, 1};

/* NaN is put nowhere in particular, and stops nothing. */
#define SORT(type)                                                                     \
  do {                                                                                 \
    type *all = values; /* NOLINT(bugprone-macro-parentheses): a type */               \
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {                          \
      uint32_t gap = gaps[g];                                                          \
      for (uint32_t i = gap; i < count; i++) {                                         \
        type value = all[i];                                                           \
        uint32_t at = i;                                                               \
        for (; at >= gap && all[at - gap] > value; at -= gap) all[at] = all[at - gap]; \
        all[at] = value;                                                               \
      }                                                                                \
    }                                                                                  \
  } while (0)

void nf_sort(void *values, uint32_t count, int type) {
  switch (type) {
  case NF_TYPE_INT8: SORT(int8_t); break;
  case NF_TYPE_INT16: SORT(int16_t); break;
  case NF_TYPE_INT32: SORT(int32_t); break;
  case NF_TYPE_INT64: SORT(int64_t); break;
  case NF_TYPE_UINT8: SORT(uint8_t); break;
  case NF_TYPE_UINT16: SORT(uint16_t); break;
  case NF_TYPE_UINT32: SORT(uint32_t); break;
  case NF_TYPE_UINT64: SORT(uint64_t); break;
  case NF_TYPE_FLOAT: SORT(float); break;
  case NF_TYPE_DOUBLE: SORT(double); break;
  default: nf_require(!"a type of numbers");
  }
}
