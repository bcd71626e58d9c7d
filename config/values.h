// Words and numbers as people write them, for the document reader and the command line alike.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/domain.h"

namespace hull::config {

// Decimal digits only: no sign, no white space, no overflow.
std::optional<uint64_t> parse_number(std::string_view text);

// The same as documents have them: white space and one '+' in front, as strtoull takes them.
std::optional<uint64_t> parse_document_number(std::string_view text);

// Bytes in one of a unit, as libvirt spells units, any case: b, byte, bytes; K or KiB = 1024;
// KB = 1000; … E.
std::optional<uint64_t> bytes_per_unit(std::string_view unit);

// "512M", "2GiB", "100 MB", "4096". A number without a unit counts `default_unit` bytes. Fractions,
// signs and anything past 2^64-1 are kInvalidConfig.
Result<uint64_t> parse_size(std::string_view text, uint64_t default_unit = 1);

// The highest number in a list of CPUs as libvirt writes it ("0-3,^2,8"); none if it is not one.
std::optional<unsigned> highest_cpu(std::string_view list);

using MacAddress = std::array<uint8_t, 6>;

// Six numbers of one or two hexadecimal digits with ':' or '-' between them; multicast and all-zero
// addresses are refused.
Result<MacAddress> parse_mac(std::string_view text);
std::string format_mac(const MacAddress& mac);

// The words of base/spec.h; for the cache mode also libvirt's "default".
Result<CacheMode> parse_cache_mode(std::string_view text);
Result<DiskFormat> parse_disk_format(std::string_view text);
Result<DiscardMode> parse_discard(std::string_view text);
Result<DetectZeroes> parse_detect_zeroes(std::string_view text);

// Any spelling that libvirt takes (hyphens optional, any case) to canonical lower-case text.
Result<std::string> parse_uuid(std::string_view text);

// The name of a secret: a UUID in its canonical spelling, any other text as it is.
std::string secret_id(std::string_view text);

// The kernel that means hull's own small guest instead of a file.
inline constexpr std::string_view kBuiltinGuestKernel = "hull:guest";

// Sets kind and kernel.
void set_kernel(BootConfig& boot, std::string_view kernel);

}  // namespace hull::config
