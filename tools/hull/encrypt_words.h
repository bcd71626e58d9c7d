// Which secrets open an image and those below it, as QEMU's node options have it:
// encrypt.key-secret=ID and encrypt.format=luks|aes, behind one "backing." for each level down.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

struct EncryptWords {
  std::string secret_id;  // empty: none
  std::string format;     // "luks", "aes"; empty: not said
};

// Whether `option` was such a one; then it is now part of `levels`, of which the first is the image
// itself. kUsage for a format that does not exist and for more levels than a chain has.
Result<bool> take_encrypt_option(const Suboption& option, std::vector<EncryptWords>& levels);

}  // namespace hull::cli
