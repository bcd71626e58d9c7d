// Small qcow2 images, valid at first and then damaged where bytes of a fuzzer (or a random number
// generator) say: fields of every structure get values that are wrong in interesting ways.
#pragma once

#include <cstdint>
#include <span>

#include "tests/support/qcow2_images.h"

namespace hull::testing {

// Choices made by bytes; zeros when they are used up.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::span<const uint8_t> rest() const { return bytes_; }
  uint64_t take(unsigned bytes);
  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : take(limit > 256 ? 4 : 1) % limit; }

 private:
  std::span<const uint8_t> bytes_;
};

struct SampleImage {
  Bytes image;
  Bytes contents;          // what it reads as while it is not damaged
  bool consistent = true;  // false: the snapshots' references are not in the refcounts
};

// Any geometry; plain, zero and compressed clusters; perhaps two snapshots, a set dirty bit, lazy
// refcounts.
SampleImage make_sample_qcow2(Choices& choices);

// Overwrites one field, in the header or in the tables it leads to, or cuts the file off.
void damage_qcow2(Bytes& image, Choices& choices);

}  // namespace hull::testing
