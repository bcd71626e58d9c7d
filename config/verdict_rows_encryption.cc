// Verdicts for <encryption>, of a disk as well as of its <source> and those of its backing images.
#include "config/verdict_rows.h"

namespace hull::config {

namespace {

using enum Verdict;

constexpr VerdictRow kRows[] = {
    {"/domain/devices/disk/encryption", "", kHonour, "inside qcow2 images", kUnique},
    {"/domain/devices/disk/encryption/@format", "luks", kHonour},
    {"/domain/devices/disk/encryption/@format", "qcow", kHonour, "the old AES: only to read"},
    {"/domain/devices/disk/encryption/@format", "", kRefuse,
     "this encryption is not supported: the guest would see the ciphertext", kFinal},
    {"/domain/devices/disk/encryption/@engine", "qemu", kSilent},
    {"/domain/devices/disk/encryption/@engine", "", kRefuse,
     "this encryption is not supported: the guest would see the ciphertext", kFinal},
    {"/domain/devices/disk/encryption/secret", "", kHonour,
     "its value comes from hull run --secret ID=file:PATH or ID=fd:N", kUnique},
    {"/domain/devices/disk/encryption/secret/@type", "passphrase", kHonour},
    {"/domain/devices/disk/encryption/secret/@type", "", kRefuse, "is not passphrase", kFinal},
    {"/domain/devices/disk/encryption/secret/@uuid", "", kHonour, "the ID"},
    {"/domain/devices/disk/encryption/secret/@usage", "", kHonour, "the ID"},
    {"/domain/devices/disk/encryption/cipher", "", kSilent, "the image says it", kSubtree},
    {"/domain/devices/disk/encryption/ivgen", "", kSilent, "the image says it", kSubtree},
};

}  // namespace

std::span<const VerdictRow> encryption_rows() { return kRows; }

}  // namespace hull::config
