// Header extensions: docs/interop/qcow2, "Header extensions", "Feature name table".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "blockcore/qcow2/format/header.h"

namespace hull::blockcore::qcow2 {

// Reads the extensions in [begin, end) of `area` into header.extensions and backing_format;
// kOutOfRange if the area ends before they do.
Result<void> decode_extensions(std::span<const std::byte> area, uint64_t begin, uint64_t end,
                               Header& header);

// Behind the end marker of such extensions; `end` if there is none. Of an area that reaches to
// `end`.
uint64_t extensions_end(std::span<const std::byte> area, uint64_t begin, uint64_t end);

// Appends the backing format, header.extensions and the end marker; with the table of feature
// names (QEMU's if the header has none) or without it.
void append_extensions(const Header& header, bool with_feature_names, std::vector<std::byte>& area);

enum class FeatureKind : uint8_t { kIncompatible = 0, kCompatible = 1, kAutoclear = 2 };

// "'name', feature bit 9": what the image itself calls these bits, for messages.
std::string feature_names(const Header& header, FeatureKind kind, uint64_t bits);

}  // namespace hull::blockcore::qcow2
