// encrypt.…: how a new image is encrypted, with the names and defaults of qemu-img.
#pragma once

#include <span>

#include "blockcore/qcow2/edit/create.h"
#include "tools/hull/img_options.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

// encrypt.format=luks and encrypt.key-secret=ID, and as one likes cipher-alg (aes-128, aes-256),
// cipher-mode (xts, cbc), ivgen-alg (plain64, essiv), ivgen-hash-alg (sha256), hash-alg (sha1,
// sha256, sha512) and iter-time (milliseconds).
Result<blockcore::Qcow2Encryption> read_encrypt_options(std::span<const Suboption> options,
                                                        const ImgSecrets& secrets);

}  // namespace hull::cli
