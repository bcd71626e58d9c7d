// Which values libvirt's parser takes for the nodes of a domain document: one table, checked in one
// place (check_values.cc). A value that libvirt refuses is a slip of the pen, and what was meant by
// it is not known: hull refuses it too, also below elements that it leaves out. Words of later
// releases than the reference (9.0) are in; nodes that a reader of hull's checks itself are not.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hull::config {

enum class ValueKind : uint8_t {
  kWords,  // one of `words`
  kOnOff,
  kYesNo,
  kNumber,   // not negative, decimal or 0x…
  kInteger,  // the same with a sign
  kUnit,     // of a size; may be empty
  kCpus,     // "0-3,^2"
  kPath,     // absolute
  kUuid,
  kMac,
  kAddress,            // IPv4 or IPv6
  kWwn,                // 16 hexadecimal digits
  kUsbPort,            // "1.2"
  kDate,               // "2026-11-30T19:58:35"
  kAtMostCharacters,   // `words` says how many
  kExactlyCharacters,  // `words` says how many
};

struct ValueRow {
  std::string_view base;   // "/domain/clock"; "*": any element below a device
  std::string_view nodes;  // below it: "@offset timer/@name device/weight", in paths of verdicts.h
  ValueKind kind;
  std::string_view words = {};  // "a|b"
};

// All rows, in several groups only because source files have a length. Rows that name the whole
// path count before those for any device.
std::span<const std::span<const ValueRow>> value_groups();
std::span<const ValueRow> domain_values();
std::span<const ValueRow> device_values();
std::span<const ValueRow> disk_values();

// "words", "on-off", "number"…
std::string_view to_string(ValueKind kind);

}  // namespace hull::config
