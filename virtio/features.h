// Feature bits as a type, so that a bit position is never taken for a mask (virtio 1.2, 2.2).
#pragma once

#include <cstdint>
#include <type_traits>

namespace hull::virtio {

// Bits of the ring and the transport (virtio 1.2, 6). Each device type has an enum of its own.
enum class Feature : uint8_t {
  kRingIndirectDescriptors = 28,
  kRingEventIndex = 29,
  kVersion1 = 32,
};

class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  constexpr explicit FeatureSet(uint64_t bits) : bits_(bits) {}

  // `feature` is an enumerator whose value is the position of the bit, 0 to 63.
  template <class E>
  constexpr bool has(E feature) const {
    return (bits_ & bit(feature)) != 0;
  }
  template <class E>
  constexpr FeatureSet with(E feature, bool wanted = true) const {
    return FeatureSet(wanted ? bits_ | bit(feature) : bits_);
  }
  constexpr bool is_subset_of(FeatureSet other) const { return (bits_ & ~other.bits_) == 0; }
  constexpr uint64_t bits() const { return bits_; }

 private:
  template <class E>
  static constexpr uint64_t bit(E feature) {
    static_assert(std::is_enum_v<E>);
    return uint64_t{1} << static_cast<unsigned>(feature);
  }
  uint64_t bits_ = 0;
};

}  // namespace hull::virtio
