// The table of all formats of disk images that hull knows, those that it only recognises included.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "blockcore/format_driver.h"

namespace hull::blockcore {

using FormatTable = std::span<const FormatDriver* const>;
// In the order in which first bytes are compared.
FormatTable format_table();

// nullptr: there is none of that name.
const FormatDriver* find_format(std::string_view name, FormatTable table = format_table());
const FormatDriver& driver_of(hull::DiskFormat format);

// The format that hull opens under that name. kUsage for a name that nobody knows, kUnsupported for
// a format that is only recognised; the message says which.
Result<hull::DiskFormat> parse_format(std::string_view name, FormatTable table = format_table());
// The names of the formats that hull opens: "raw or qcow2".
std::string openable_formats(std::string_view between, FormatTable table = format_table());

// By the first bytes of a file and the first of its last 512; nullptr: it looks like none.
const FormatDriver* recognise_format(std::string_view start, std::string_view trailer,
                                     FormatTable table = format_table());

}  // namespace hull::blockcore
