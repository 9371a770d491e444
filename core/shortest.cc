/*
 * shortest.cc: the door to Dragonbox (J. Jeon's algorithm and library), which finds the shortest decimal of a floating
 * point number. It is a header of C++ templates, so this is the one file that is not C. It returns digits and exponent;
 * how a number looks as text is format.c's business.
 */
#include "shortest.h"

#include <dragonbox/dragonbox.h>

template <class Float> static nf_decimal shortest(Float value) {
  auto const decimal = jkj::dragonbox::to_decimal(value, jkj::dragonbox::policy::sign::ignore);
  return {decimal.significand, decimal.exponent};
}

nf_decimal nf_shortest_double(double value) { return shortest(value); }

nf_decimal nf_shortest_float(float value) { return shortest(value); }
