// What opens an encrypted image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "blockcore/secret.h"

namespace hull::blockcore {

// With what an image has to be encrypted. kAny: as its header says, and that may be not at all.
enum class DiskEncryption : uint8_t { kAny, kAes, kLuks };

struct ImageKey {
  // nullptr: the image may not be encrypted. It is wiped as soon as nobody holds it any more.
  std::shared_ptr<const Secret> secret = nullptr;
  DiskEncryption encryption = DiskEncryption::kAny;
};

// Of an image and of those below it, in this order; what is missing at the end has none.
using ImageKeys = std::vector<ImageKey>;

// Of those from `level` on.
inline ImageKeys keys_from_level(const ImageKeys& keys, size_t level) {
  if (level >= keys.size()) return {};
  return ImageKeys(keys.begin() + static_cast<ptrdiff_t>(level), keys.end());
}

inline ImageKey key_of_level(const ImageKeys& keys, size_t level) {
  return level < keys.size() ? keys[level] : ImageKey{};
}

}  // namespace hull::blockcore
